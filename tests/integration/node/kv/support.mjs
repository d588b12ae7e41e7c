// What the key-value client tests share. KV_HOST and KV_PORT say where; KV_USER and KV_PASSWORD are
// a login (then the server wants one). The newest versions of both clients want node 20.
import { test } from 'node:test'

export const host = process.env.KV_HOST ?? '127.0.0.1'
export const port = Number(process.env.KV_PORT)
if (!port) throw new Error('KV_PORT is not set')
export const user = process.env.KV_USER
export const password = process.env.KV_PASSWORD

const scale = Number(process.env.SLUICE_TEST_SCALE ?? 1)
const node = Number(process.versions.node.split('.')[0])

export const versions = (name) => [`${name}-5`, ...(node >= 20 ? [name] : [])]
export const timed = (name, work) => test(name, { timeout: 20_000 * scale }, work)
export const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds))

// Every file uses projects of its own.
let next = 1000 + (process.pid % 1000)
export const project = () => next++
