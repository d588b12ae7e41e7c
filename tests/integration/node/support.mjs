// What the Node test files share: the address under test, names that no other file uses, and a few
// helpers. DATABASE_URL is required; SLUICE_POOL_SIZE, if set, is the bound that a pool test holds
// the proxy to; SLUICE_TEST_SCALE stretches the time limits.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'

const text = process.env.DATABASE_URL
if (!text) throw new Error('DATABASE_URL is not set')

export const url = text
export const parts = new URL(text)
export const poolSize = process.env.SLUICE_POOL_SIZE ? Number(process.env.SLUICE_POOL_SIZE) : null

// Time limits are multiplied by this where the machine or the build is slow.
const scale = Number(process.env.SLUICE_TEST_SCALE ?? 1)

// A schema of this process's own, so that files may run at the same time on one database.
export const schema = `node_${process.pid}_${Math.random().toString(36).slice(2, 8)}`

// The same address with some parts replaced: {password: 'x'}, {database: 'y'}, {username: 'z'}.
export function urlWith(changes) {
  const changed = new URL(text)
  for (const [key, value] of Object.entries(changes)) {
    if (key === 'database') changed.pathname = `/${value}`
    else changed[key] = value
  }
  return changed.href
}

export const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds))

// Asks until `question` gives something true; fails with `what` when the time is over.
export async function eventually(question, what, milliseconds = 10_000 * scale) {
  const end = Date.now() + milliseconds
  for (;;) {
    const answer = await question()
    if (answer) return answer
    if (Date.now() > end) assert.fail(`never happened: ${what}`)
    await sleep(20)
  }
}

// The rejection of `promise`, or a failure if it is kept.
export async function rejection(promise) {
  let value
  try {
    value = await promise
  } catch (error) {
    return error
  }
  assert.fail(`expected an error, got ${JSON.stringify(value)}`)
}

// A function that fails with every field that a server can put into an ErrorResponse. The text is
// the body of CREATE FUNCTION <name>() RETURNS void LANGUAGE plpgsql.
export const raiseEverything = `
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'P7777', MESSAGE = 'all fields, ünïcödé', DETAIL = 'the detail',
    HINT = 'the hint', SCHEMA = 'a schema', TABLE = 'a table', COLUMN = 'a column',
    DATATYPE = 'a type', CONSTRAINT = 'a constraint';
END`

// A test with a time limit of its own: a suite's limit would take its neighbours down too.
export const timed = (name, work, { timeout = 60_000, ...options } = {}) =>
  test(name, { timeout: timeout * scale, ...options }, work)

// Registers what removes a file's traces. A test that failed by hanging leaves connections open, which
// would keep this process alive for ever.
export function cleanUp(work) {
  after(work, { timeout: 20_000 * scale })
  after(() => void setTimeout(() => process.exit(1), 10_000).unref())
}
