// node-postgres (pg) through DATABASE_URL: what applications do with it, and what a pooler in
// transaction mode is likely to break.
import { before, describe } from 'node:test'
import assert from 'node:assert/strict'
import pg from 'pg'
import {
  cleanUp,
  eventually,
  parts,
  poolSize,
  raiseEverything,
  rejection,
  schema,
  timed,
  url,
  urlWith,
} from './support.mjs'

const rows = `${schema}.rows`

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

before(() =>
  withClient(async (client) => {
    await client.query(`CREATE SCHEMA ${schema}`)
    await client.query(`CREATE TABLE ${rows} (id int PRIMARY KEY, who int NOT NULL, note text)`)
    await client.query(
      `CREATE FUNCTION ${schema}.raise_all() RETURNS void LANGUAGE plpgsql AS $f$${raiseEverything}$f$`,
    )
    await client.query(`CREATE FUNCTION ${schema}.inner_error() RETURNS int LANGUAGE plpgsql
      AS $f$ BEGIN RETURN (SELECT no_such_column FROM ${rows}); END $f$`)
  }),
)

cleanUp(() => withClient((client) => client.query(`DROP SCHEMA ${schema} CASCADE`)))

describe('queries', () => {
  timed('simple query: several statements, an empty one, tags and counts', () =>
    withClient(async (client) => {
      const results = await client.query(
        'SELECT 1 AS a; SELECT 2 AS b, NULL AS c; CREATE TEMP TABLE t (x int) ON COMMIT DROP; SELECT',
      )
      assert.deepEqual(
        results.map((r) => r.command),
        ['SELECT', 'SELECT', 'CREATE', 'SELECT'],
      )
      assert.deepEqual(results[1].rows, [{ b: 2, c: null }])
      const empty = await client.query('')
      assert.deepEqual(empty.rows, [])
      const inserted = await client.query(
        `INSERT INTO ${rows} SELECT -n, 0 FROM generate_series(1, 7) n`,
      )
      assert.equal(inserted.rowCount, 7)
      assert.equal((await client.query(`DELETE FROM ${rows} WHERE id < 0`)).rowCount, 7)
    }),
  )

  timed('parameters and results of many types survive', () =>
    withClient(async (client) => {
      const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
      const date = new Date('2026-01-02T03:04:05.678Z')
      const {
        rows: [row],
        fields,
      } = await client.query(
        `SELECT $1::int AS i, $2::text AS t, $3::jsonb AS j, $4::int[] AS a, $5::bytea AS b,
                $6::timestamptz AS d, $7::int8 AS big, $8::bool AS yes, $9::text AS nothing, $10::numeric AS n`,
        [
          -7,
          'ünï 🙂 \' " \\',
          { k: [1, null] },
          [1, 2],
          bytes,
          date,
          '9007199254740993',
          true,
          null,
          '0.10',
        ],
      )
      assert.deepEqual(row, {
        i: -7,
        t: 'ünï 🙂 \' " \\',
        j: { k: [1, null] },
        a: [1, 2],
        b: bytes,
        d: date,
        big: '9007199254740993',
        yes: true,
        nothing: null,
        n: '0.10',
      })
      assert.deepEqual(
        fields.map((f) => f.dataTypeID),
        [23, 25, 3802, 1007, 17, 1184, 20, 16, 25, 1700],
      )
    }),
  )

  timed('binary results and array rows', () =>
    withClient(async (client) => {
      const binary = await client.query({
        text: 'SELECT 305419896::int AS i, $1::text AS t',
        values: ['x'],
        binary: true,
      })
      assert.deepEqual(binary.rows, [{ i: 305419896, t: 'x' }])
      const arrays = await client.query({ text: 'SELECT 1, 2', rowMode: 'array' })
      assert.deepEqual(arrays.rows, [[1, 2]])
    }),
  )

  timed('a row limit hands the rows out in portions (Execute n, PortalSuspended)', () =>
    withClient(async (client) => {
      const result = await client.query({
        text: 'SELECT n FROM generate_series(1, $1::int) n',
        values: [25],
        rows: 10,
      })
      assert.equal(result.rows.length, 25)
      assert.equal(await value(client, 'SELECT 1'), 1)
    }),
  )

  timed('large values and many rows', () =>
    withClient(async (client) => {
      const large = 'x'.repeat(5_000_000)
      assert.equal(await value(client, 'SELECT $1::text', [large]), large)
      const many = await client.query(
        "SELECT n, repeat('y', 40) AS pad FROM generate_series(1, 100000) n",
      )
      assert.equal(many.rows.length, 100_000)
      assert.ok(many.rows.every((row, index) => row.n === index + 1 && row.pad.length === 40))
    }),
  )

  timed('notices reach the client that caused them', () =>
    withClient(async (client) => {
      const seen = []
      client.on('notice', (notice) => seen.push([notice.severity, notice.code, notice.message]))
      await client.query("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$")
      assert.deepEqual(seen, [
        ['NOTICE', '00000', 'one'],
        ['WARNING', '01000', 'two'],
      ])
    }),
  )

  timed('pipeline mode: many queries in flight, an error in the middle', () =>
    withClient(
      async (client) => {
        const queries = Array.from({ length: 100 }, (_, n) =>
          n === 50
            ? client.query('SELECT 1 / $1::int AS n', [0])
            : client.query('SELECT $1::int AS n', [n]),
        )
        const settled = await Promise.allSettled(queries)
        settled.forEach((one, n) => {
          if (n === 50) assert.equal(one.reason.code, '22012')
          else assert.equal(one.value.rows[0].n, n)
        })
      },
      { pipeline: true },
    ),
  )
})

describe('prepared statements', () => {
  timed('one name on 20 clients with a different text each', async () => {
    const clients = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const client = new pg.Client(url)
        await client.connect()
        return client
      }),
    )
    try {
      for (let round = 0; round < 5; ++round) {
        const answers = await Promise.all(
          clients.map((client, n) =>
            client.query({ name: 'same', text: `SELECT ${n} AS n, $1::int AS x`, values: [round] }),
          ),
        )
        answers.forEach((answer, n) => assert.deepEqual(answer.rows, [{ n, x: round }]))
      }
    } finally {
      await Promise.all(clients.map((client) => client.end()))
    }
  })

  timed('a statement that fails to parse leaves its name free', () =>
    withClient(async (client) => {
      const error = await rejection(client.query({ name: 'later', text: 'SELECT no_such_column' }))
      assert.equal(error.code, '42703')
      assert.equal(await value(client, { name: 'later', text: 'SELECT 5 AS n' }), 5)
      assert.equal(await value(client, { name: 'later', text: 'SELECT 5 AS n' }), 5)
    }),
  )

  timed('more statements than a connection keeps', () =>
    withClient(async (client) => {
      for (let round = 0; round < 2; ++round)
        for (let n = 0; n < 300; ++n)
          assert.equal(
            await value(client, { name: `s${n}`, text: `SELECT ${n} + $1::int`, values: [round] }),
            n + round,
          )
    }),
  )

  timed('a named statement inside and outside of transactions', () =>
    withClient(async (client) => {
      const query = { name: 'in_and_out', text: 'SELECT $1::text AS t', values: ['x'] }
      assert.equal(await value(client, query), 'x')
      await client.query('BEGIN')
      assert.equal(await value(client, query), 'x')
      await client.query('ROLLBACK')
      assert.equal(await value(client, query), 'x')
    }),
  )
})

describe('transactions', () => {
  timed('commit, rollback and savepoints', () =>
    withClient(async (client) => {
      await client.query('BEGIN')
      await client.query(`INSERT INTO ${rows} VALUES (1, 0)`)
      await client.query('SAVEPOINT s')
      await client.query(`INSERT INTO ${rows} VALUES (2, 0)`)
      await client.query('ROLLBACK TO s')
      await client.query('COMMIT')
      await client.query('BEGIN')
      await client.query(`INSERT INTO ${rows} VALUES (3, 0)`)
      await client.query('ROLLBACK')
      const left = await client.query(`DELETE FROM ${rows} WHERE who = 0 RETURNING id`)
      assert.deepEqual(left.rows, [{ id: 1 }])
    }),
  )

  timed('a failed transaction refuses work until ROLLBACK', () =>
    withClient(async (client) => {
      await client.query('BEGIN')
      assert.equal((await rejection(client.query('SELECT 1/0'))).code, '22012')
      assert.equal((await rejection(client.query('SELECT 1'))).code, '25P02')
      assert.equal((await client.query('COMMIT')).command, 'ROLLBACK')
      assert.equal(await value(client, 'SELECT 1'), 1)
    }),
  )

  timed('a client that vanishes in its transaction leaves nothing behind', async () => {
    const client = new pg.Client(url)
    client.on('error', () => {})
    await client.connect()
    await client.query('BEGIN')
    await client.query(`INSERT INTO ${rows} VALUES (4, 4)`)
    client.connection.stream.destroy()
    // Waits for the row lock of the transaction that was left, so it ends only when that one has.
    await withClient((other) => other.query(`INSERT INTO ${rows} VALUES (4, 5)`))
    const left = await withClient((other) =>
      other.query(`DELETE FROM ${rows} WHERE id = 4 RETURNING who`),
    )
    assert.deepEqual(left.rows, [{ who: 5 }])
  })

  timed('a pool of 20 clients: every client gets its own rows', async () => {
    const pool = new pg.Pool({ connectionString: url, max: 20 })
    const backends = new Set()
    const work = async (who) => {
      const client = await pool.connect()
      try {
        await client.query('BEGIN')
        backends.add(await value(client, 'SELECT pg_backend_pid()'))
        await client.query(`INSERT INTO ${rows} VALUES ($1, $1, $2)`, [1000 + who, `note ${who}`])
        const mine = await client.query(`SELECT id, note FROM ${rows} WHERE who = $1`, [1000 + who])
        assert.deepEqual(mine.rows, [{ id: 1000 + who, note: `note ${who}` }])
        await client.query(who % 3 === 0 ? 'ROLLBACK' : 'COMMIT')
        assert.equal(
          await value(client, { name: 'echo', text: 'SELECT $1::int', values: [who] }),
          who,
        )
      } finally {
        client.release()
      }
    }
    try {
      await Promise.all(Array.from({ length: 400 }, (_, who) => work(who)))
      assert.equal(pool.totalCount, 20)
      const kept = await pool.query(`DELETE FROM ${rows} WHERE who >= 1000`)
      assert.equal(kept.rowCount, 400 - 134)
      if (poolSize)
        assert.ok(backends.size <= poolSize, `${backends.size} servers for a pool of ${poolSize}`)
    } finally {
      await pool.end()
    }
  })
})

describe('errors', () => {
  const fields = ({
    severity,
    code,
    message,
    detail,
    hint,
    schema,
    table,
    column,
    dataType,
    constraint,
  }) => ({ severity, code, message, detail, hint, schema, table, column, dataType, constraint })

  timed('every field of a raised error', () =>
    withClient(async (client) => {
      const error = await rejection(client.query(`SELECT ${schema}.raise_all()`))
      assert.deepEqual(fields(error), {
        severity: 'ERROR',
        code: 'P7777',
        message: 'all fields, ünïcödé',
        detail: 'the detail',
        hint: 'the hint',
        schema: 'a schema',
        table: 'a table',
        column: 'a column',
        dataType: 'a type',
        constraint: 'a constraint',
      })
      assert.match(error.where, /raise_all\(\) line \d+ at RAISE/)
      assert.equal(error.routine, 'exec_stmt_raise')
      assert.ok(error.file && error.line)
    }),
  )

  timed('position, internal query and constraint of real errors', () =>
    withClient(async (client) => {
      const wrong = await rejection(client.query('SELECT 1 FROM no_such_table'))
      assert.deepEqual([wrong.code, wrong.position], ['42P01', '15'])
      const inner = await rejection(client.query(`SELECT ${schema}.inner_error()`))
      assert.equal(inner.code, '42703')
      assert.match(inner.internalQuery, /no_such_column/)
      assert.ok(Number(inner.internalPosition) > 0)
      await client.query(`INSERT INTO ${rows} VALUES (5, 5)`)
      const twice = await rejection(client.query(`INSERT INTO ${rows} VALUES (5, 5)`))
      assert.deepEqual(
        [twice.code, twice.schema, twice.table, twice.constraint, twice.detail],
        ['23505', schema, 'rows', 'rows_pkey', 'Key (id)=(5) already exists.'],
      )
      const missing = await rejection(client.query(`INSERT INTO ${rows} VALUES (6, NULL)`))
      assert.deepEqual([missing.code, missing.column], ['23502', 'who'])
      await client.query(`DELETE FROM ${rows} WHERE id = 5`)
    }),
  )

  timed(
    'a wrong password and an unknown database are refused',
    async () => {
      const wrong = new pg.Client(urlWith({ password: 'certainly-not-this' }))
      wrong.on('error', () => {})
      assert.equal((await rejection(wrong.connect())).code, '28P01')
      const nowhere = new pg.Client(urlWith({ database: 'no_such_database_anywhere' }))
      nowhere.on('error', () => {})
      assert.equal((await rejection(nowhere.connect())).code, '3D000')
    },
    { skip: !parts.password },
  )
})

describe('cancel and timeouts', () => {
  timed('a cancel request stops its query and no other', () =>
    withClient((client) =>
      withClient(async (bystander) => {
        const slow = new pg.Query(`SELECT pg_sleep(30) AS ${schema}`)
        const failed = new Promise((done) => {
          slow.on('error', done)
          slow.on('end', () => done(null))
        })
        client.query(slow)
        const other = bystander.query('SELECT pg_sleep(1), 1 AS n')
        await eventually(
          () =>
            withClient(
              async (watch) =>
                (await value(
                  watch,
                  "SELECT count(*)::int FROM pg_stat_activity WHERE query = $1 AND wait_event = 'PgSleep'",
                  [slow.text],
                )) > 0,
            ),
          'the slow query runs',
        )
        new pg.Client(url).cancel(client, slow)
        const error = await failed
        assert.equal(error?.code, '57014')
        assert.equal(error.message, 'canceling statement due to user request')
        assert.equal(await value(client, 'SELECT 7'), 7)
        assert.equal((await other).rows[0].n, 1)
      }),
    ),
  )

  timed('pg_cancel_backend from another client', () =>
    withClient(async (client) => {
      await client.query('BEGIN')
      const backend = await value(client, 'SELECT pg_backend_pid()')
      const failed = rejection(client.query('SELECT pg_sleep(30)'))
      await eventually(
        () =>
          withClient(
            async (watch) =>
              (
                await watch.query(
                  "SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'",
                  [backend],
                )
              ).rowCount,
          ),
        'the slow query runs',
      )
      await withClient((other) => other.query('SELECT pg_cancel_backend($1)', [backend]))
      assert.equal((await failed).code, '57014')
      await client.query('ROLLBACK')
      assert.equal(await value(client, 'SELECT 7'), 7)
    }),
  )

  timed('startup parameters hold for their client alone', () =>
    withClient(
      (client) =>
        withClient(async (other) => {
          for (let round = 0; round < 5; ++round) {
            const [one, two] = await Promise.all([
              client.query(
                "SELECT current_setting('statement_timeout') AS t, current_setting('search_path') AS p, current_setting('application_name') AS a",
              ),
              other.query(
                "SELECT current_setting('statement_timeout') AS t, current_setting('search_path') AS p",
              ),
            ])
            assert.deepEqual(one.rows, [{ t: '2s', p: schema, a: 'node test' }])
            assert.notEqual(two.rows[0].t, '2s')
            assert.notEqual(two.rows[0].p, schema)
          }
          assert.equal((await rejection(client.query('SELECT pg_sleep(30)'))).code, '57014')
          assert.equal(await value(client, 'SELECT count(*)::int FROM rows'), 0)
        }),
      {
        statement_timeout: 2000,
        application_name: 'node test',
        options: `-c search_path=${schema}`,
      },
    ),
  )
})
