// COPY through pg-copy-streams: out, in, an abandoned and a refused one.
import { before } from 'node:test'
import assert from 'node:assert/strict'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import pg from 'pg'
import { from, to } from 'pg-copy-streams'
import { cleanUp, rejection, schema, timed, url } from './support.mjs'

const table = `${schema}.copied`
const count = 50_000
let pool

before(async () => {
  pool = new pg.Pool({ connectionString: url, max: 8 })
  await pool.query(`CREATE SCHEMA ${schema}`)
  await pool.query(`CREATE TABLE ${table} (id int PRIMARY KEY, note text)`)
})

cleanUp(async () => {
  await pool.query(`DROP SCHEMA ${schema} CASCADE`)
  await pool.end()
})

async function withClient(work) {
  const client = await pool.connect()
  try {
    return await work(client)
  } finally {
    client.release()
  }
}

function* lines(first, last) {
  for (let n = first; n < last; ++n) yield `${n}\tnote ${n} ${'z'.repeat(50)}\n`
}

timed('COPY FROM and COPY TO carry every byte', () =>
  withClient(async (client) => {
    await pipeline(Readable.from(lines(0, count)), client.query(from(`COPY ${table} FROM STDIN`)))
    const chunks = []
    const sink = new Writable({
      write(chunk, _, done) {
        chunks.push(chunk)
        done()
      },
    })
    await pipeline(client.query(to(`COPY (SELECT * FROM ${table} ORDER BY id) TO STDOUT`)), sink)
    assert.equal(Buffer.concat(chunks).toString(), [...lines(0, count)].join(''))
    assert.equal((await client.query(`DELETE FROM ${table}`)).rowCount, count)
  }),
)

timed('a COPY that the client gives up stores nothing and keeps the session', () =>
  withClient(async (client) => {
    async function* breaking() {
      yield* lines(0, 100)
      throw new Error('the source broke')
    }
    await rejection(
      pipeline(Readable.from(breaking()), client.query(from(`COPY ${table} FROM STDIN`))),
    )
    const { rows } = await client.query(`SELECT count(*)::int AS n FROM ${table}`)
    assert.deepEqual(rows, [{ n: 0 }])
  }),
)

timed('a COPY that the server refuses half-way is an error and keeps the session', () =>
  withClient(async (client) => {
    function* bad() {
      yield* lines(0, 5000)
      yield 'not a number\tx\n'
      yield* lines(5000, 10_000)
    }
    const error = await rejection(
      pipeline(Readable.from(bad()), client.query(from(`COPY ${table} FROM STDIN`))),
    )
    assert.equal(error.code, '22P02')
    assert.match(error.where, /COPY copied, line 5001, column id/)
    const { rows } = await client.query(`SELECT count(*)::int AS n FROM ${table}`)
    assert.deepEqual(rows, [{ n: 0 }])
  }),
)

timed('eight COPYs at once do not mix', async () => {
  await Promise.all(
    Array.from({ length: 8 }, (_, who) =>
      withClient((client) =>
        pipeline(
          Readable.from(lines(who * 1000, who * 1000 + 1000)),
          client.query(from(`COPY ${table} FROM STDIN`)),
        ),
      ),
    ),
  )
  const { rows } = await pool.query(`SELECT count(*)::int AS n, sum(id)::int AS s FROM ${table}`)
  assert.deepEqual(rows, [{ n: 8000, s: (8000 * 7999) / 2 }])
  await pool.query(`DELETE FROM ${table}`)
})
