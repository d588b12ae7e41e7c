// node-postgres while others rotate the pool's connections: settings, named statements, LISTEN,
// temporary tables, and what a client that goes back into pg's own pool takes along.
import { describe } from 'node:test'
import assert from 'node:assert/strict'
import pg from 'pg'
import { eventually, rejection, schema, timed, url } from '../support.mjs'

async function withClient(work, options = {}) {
  const client = new pg.Client({ connectionString: url, ...options })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

const value = async (client, ...query) => Object.values((await client.query(...query)).rows[0])[0]

describe('node-postgres', () => {
  timed('SET and named statements of many clients', async () => {
    await Promise.all(
      Array.from({ length: 6 }, (_, n) =>
        withClient(async (client) => {
          await client.query(`SET app.user_id = 'client ${n}'; SET TimeZone = 'Etc/GMT+${n}'`)
          const query = {
            name: 'who',
            text: `SELECT current_setting('app.user_id') AS who, $1::int + ${n} AS sum,
                          current_setting('TimeZone') AS zone`,
          }
          for (let i = 0; i < 25; ++i) {
            const { rows } = await client.query({ ...query, values: [i] })
            assert.deepEqual(rows, [{ who: `client ${n}`, zone: `Etc/GMT+${n}`, sum: i + n }])
          }
          await client.query('BEGIN')
          await client.query("SET LOCAL app.user_id = 'for a while'")
          assert.equal((await client.query({ ...query, values: [1] })).rows[0].who, 'for a while')
          await client.query('ROLLBACK')
          await client.query('RESET TimeZone')
          const { rows } = await client.query({ ...query, values: [1] })
          assert.equal(rows[0].who, `client ${n}`)
          assert.notEqual(rows[0].zone, `Etc/GMT+${n}`)
        }),
      ),
    )
  })

  timed('a setting made on connect holds on every client of a pool', async () => {
    const pool = new pg.Pool({ connectionString: url, max: 8 })
    pool.on('connect', (client) => client.query("SET search_path = 'of the pool'; SET jit = off"))
    try {
      const seen = await Promise.all(
        Array.from({ length: 80 }, () => value(pool, 'SHOW search_path')),
      )
      assert.deepEqual([...new Set(seen)], ['"of the pool"'])
    } finally {
      await pool.end()
    }
  })

  timed('LISTEN: settings, statements and notifications side by side', () =>
    withClient((client) =>
      withClient(async (sender) => {
        const heard = []
        client.on('notification', ({ channel, payload }) => heard.push(`${channel} ${payload}`))
        await client.query(`SET app.tenant = 'listener'; LISTEN "${schema}"`)
        for (let n = 0; n < 20; ++n) {
          await sender.query('SELECT pg_notify($1, $2)', [schema, `${n}`])
          assert.equal(await value(client, "SELECT current_setting('app.tenant')"), 'listener')
        }
        await eventually(() => heard.length === 20, 'all notifications')
        assert.deepEqual(
          heard,
          Array.from({ length: 20 }, (_, n) => `${schema} ${n}`),
        )
        await client.query('BEGIN')
        await client.query(`UNLISTEN "${schema}"`)
        await client.query('ROLLBACK')
        await client.query(`NOTIFY "${schema}", 'own'`)
        await eventually(() => heard.length === 21, 'its own notification')
        await client.query('UNLISTEN *')
        await sender.query(`NOTIFY "${schema}", 'nobody'`)
        assert.equal(await value(client, 'SELECT count(*)::int FROM pg_listening_channels()'), 0)
        assert.equal(heard.length, 21)
      }),
    ),
  )

  timed('temporary tables, cursors and locks stay with their client', () =>
    withClient((client) =>
      withClient(async (other) => {
        for (const [n, one] of [client, other].entries()) {
          await one.query('CREATE TEMP TABLE mine AS SELECT $1::int AS n', [n])
          await one.query(
            `DECLARE held CURSOR WITH HOLD FOR SELECT ${n} FROM generate_series(1, 9)`,
          )
        }
        for (let i = 0; i < 5; ++i)
          for (const [n, one] of [client, other].entries()) {
            assert.equal(await value(one, 'SELECT n FROM mine WHERE n = $1', [n]), n)
            assert.equal(await value(one, 'FETCH 1 FROM held'), n)
          }
        await client.query('DISCARD ALL')
        assert.equal((await rejection(client.query('TABLE mine'))).code, '42P01')
        assert.equal((await rejection(client.query('FETCH held'))).code, '34000')
        assert.equal(await value(other, 'SELECT n FROM mine'), 1)
      }),
    ),
  )

  timed('a client that is released to its pool brings its session back', async () => {
    const pool = new pg.Pool({ connectionString: url, max: 1 })
    try {
      const first = await pool.connect()
      await first.query("SET app.tenant = 'left behind'; SELECT pg_advisory_lock(88002)")
      first.release()
      // As on a direct connection: pg resets nothing, and the same client comes back.
      assert.equal(await value(pool, "SELECT current_setting('app.tenant')"), 'left behind')
      await withClient(async (other) => {
        assert.equal(await value(other, 'SELECT pg_try_advisory_lock(88002)'), false)
        const last = await pool.connect()
        last.release(true) // destroys it
        await eventually(
          () => value(other, 'SELECT pg_try_advisory_lock(88002)'),
          'the lock is free',
        )
        assert.equal(await value(other, 'SELECT pg_advisory_unlock(88002)'), true)
      })
    } finally {
      await pool.end()
    }
  })
})
