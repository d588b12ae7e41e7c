// postgres.js while others rotate the connections: `prepare: true`, listen and notify, reserved
// connections with settings, temporary tables and locks.
import { describe } from 'node:test'
import assert from 'node:assert/strict'
import postgres from 'postgres'
import { eventually, schema, timed, url } from '../support.mjs'

async function withSql(work, options = {}) {
  const sql = postgres(url, { onnotice: () => {}, prepare: true, ...options })
  try {
    return await work(sql)
  } finally {
    await sql.end({ timeout: 5 })
  }
}

describe('postgres.js', () => {
  timed('prepared statements on reserved connections with settings', () =>
    withSql(
      async (sql) => {
        await Promise.all(
          Array.from({ length: 6 }, async (_, n) => {
            const own = await sql.reserve()
            await own`SELECT set_config('app.user_id', ${`${n}`}, false)`
            await own.unsafe(`SET statement_timeout = '${n + 10}s'`)
            for (let i = 0; i < 25; ++i)
              assert.deepEqual(
                { ...(await own`SELECT current_setting('app.user_id') AS who, ${i}::int AS i,
                                       current_setting('statement_timeout') AS t`)[0] },
                { who: `${n}`, i, t: `${n + 10}s` },
              )
            await own`RESET ALL`
            own.release()
          }),
        )
      },
      { max: 6 },
    ),
  )

  timed('many in flight on one connection, whose settings change in between', () =>
    withSql(
      async (sql) => {
        const answers = []
        for (let n = 0; n < 60; ++n) {
          answers.push(sql`SELECT set_config('app.tenant', ${`${n}`}, false) AS tenant`)
          answers.push(sql`SELECT current_setting('app.tenant') AS tenant`)
        }
        for (const [n, [row]] of (await Promise.all(answers)).entries())
          assert.equal(row.tenant, `${n >> 1}`)
      },
      { max: 1 },
    ),
  )

  timed('listen and notify, also its own, while queries go on', () =>
    withSql((sql) =>
      withSql(async (sender) => {
        const heard = { one: [], two: [] }
        let ready = 0
        const subscriptions = await Promise.all(
          Object.keys(heard).map((name) =>
            sql.listen(
              `${schema}_${name}`,
              (payload) => heard[name].push(payload),
              () => ++ready,
            ),
          ),
        )
        assert.equal(ready, 2)
        for (let n = 0; n < 20; ++n) {
          await (n % 2 ? sql : sender).notify(`${schema}_one`, `${n}`)
          await sender.begin((tx) => tx.notify(`${schema}_two`, `in a transaction ${n}`))
          assert.equal((await sql`SELECT ${n}::int AS n`)[0].n, n)
        }
        await eventually(() => heard.one.length + heard.two.length === 40, 'all notifications')
        assert.deepEqual(
          heard.one,
          Array.from({ length: 20 }, (_, n) => `${n}`),
        )
        await subscriptions[0].unlisten()
        await sender.notify(`${schema}_one`, 'nobody')
        await sender.notify(`${schema}_two`, 'last')
        await eventually(() => heard.two.at(-1) === 'last', 'the last one')
        assert.equal(heard.one.length, 20)
      }),
    ),
  )

  timed('temporary tables and cursors of a reserved connection', () =>
    withSql(async (sql) => {
      const own = await sql.reserve()
      await own`CREATE TEMP TABLE mine (n int)`
      await own`INSERT INTO mine SELECT generate_series(1, 100)`
      await sql.begin(async (tx) => assert.equal((await tx`SELECT 1 AS n`)[0].n, 1))
      const seen = []
      for await (const rows of own`SELECT n FROM mine ORDER BY n`.cursor(30))
        seen.push(...rows.map((row) => row.n))
      assert.equal(seen.length, 100)
      await own`DROP TABLE mine`
      own.release()
    }),
  )

  timed('one migrator at a time', async () => {
    const log = []
    await Promise.all(
      [0, 1, 2].map((n) =>
        withSql(
          async (sql) => {
            await sql`SELECT pg_advisory_lock(88003)`
            log.push(`begins ${n}`)
            for (let i = 0; i < 3; ++i)
              await sql.begin((tx) => tx`SELECT pg_sleep(0.01), ${i}::int AS i`)
            log.push(`ends ${n}`)
            const [row] = await sql`SELECT pg_advisory_unlock(88003) AS ok`
            assert.equal(row.ok, true)
          },
          { max: 1 },
        ),
      ),
    )
    assert.equal(log.length, 6)
    for (let i = 0; i < 6; i += 2)
      assert.equal(log[i].replace('begins', 'ends'), log[i + 1], log.join(', '))
  })
})
