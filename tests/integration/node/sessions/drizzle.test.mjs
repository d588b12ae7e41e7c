// drizzle-orm while others rotate the connections: migrations, sessions with settings of their own,
// row-level security, temporary tables and advisory locks, on both of its usual drivers.
import { describe } from 'node:test'
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eq, sql } from 'drizzle-orm'
import { drizzle as drizzleOnPg } from 'drizzle-orm/node-postgres'
import { migrate as migrateOnPg } from 'drizzle-orm/node-postgres/migrator'
import { drizzle as drizzleOnPostgresJs } from 'drizzle-orm/postgres-js'
import { migrate as migrateOnPostgresJs } from 'drizzle-orm/postgres-js/migrator'
import { pgSchema, serial, text } from 'drizzle-orm/pg-core'
import pg from 'pg'
import postgres from 'postgres'
import { cleanUp, rejection, schema as base, timed, url } from '../support.mjs'

const drivers = {
  'node-postgres': {
    name: `${base}_pg`,
    migrate: migrateOnPg,
    open: (options) => {
      const client = new pg.Pool({ connectionString: url, ...options })
      return [drizzleOnPg(client), () => client.end()]
    },
  },
  'postgres.js': {
    name: `${base}_js`,
    migrate: migrateOnPostgresJs,
    open: (options) => {
      const client = postgres(url, { onnotice: () => {}, ...options })
      return [drizzleOnPostgresJs(client), () => client.end({ timeout: 5 })]
    },
  },
}

cleanUp(async () => {
  const client = new pg.Client(url)
  await client.connect()
  for (const { name } of Object.values(drivers))
    await client.query(
      `DROP SCHEMA IF EXISTS ${name} CASCADE; DROP SCHEMA IF EXISTS ${name}_journal CASCADE`,
    )
  await client.end()
})

// A folder as `drizzle-kit generate` makes it.
async function migrations(folder, list) {
  await mkdir(join(folder, 'meta'), { recursive: true })
  const entries = list.map((_, idx) => ({
    idx,
    version: '7',
    when: 1_760_000_000_000 + idx,
    tag: `000${idx}_step`,
    breakpoints: true,
  }))
  for (const [n, statements] of list.entries())
    await writeFile(
      join(folder, `000${n}_step.sql`),
      statements.join('\n--> statement-breakpoint\n'),
    )
  await writeFile(
    join(folder, 'meta/_journal.json'),
    JSON.stringify({ version: '7', dialect: 'postgresql', entries }),
  )
}

for (const [driver, { name, migrate, open }] of Object.entries(drivers)) {
  const notes = pgSchema(name).table('notes', {
    id: serial('id').primaryKey(),
    owner: text('owner').notNull(),
    note: text('note').notNull(),
  })
  const withDb = async (options, work) => {
    const [db, close] = open(options)
    try {
      return await work(db)
    } finally {
      await close()
    }
  }
  const rows = async (db, query) => {
    const answer = await db.execute(query)
    return answer.rows ?? [...answer]
  }

  describe(`drizzle-orm on ${driver}`, () => {
    timed('migrations: all, none again, a further one, a failing one', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'drizzle-'))
      const settings = { migrationsFolder: folder, migrationsSchema: `${name}_journal` }
      const first = [
        `CREATE SCHEMA ${name}`,
        `SET search_path = ${name}`,
        'CREATE TABLE notes (id serial PRIMARY KEY, owner text NOT NULL, note text NOT NULL)',
        'SET LOCAL search_path = public',
        `ALTER TABLE ${name}.notes ENABLE ROW LEVEL SECURITY`,
        `ALTER TABLE ${name}.notes FORCE ROW LEVEL SECURITY`,
        `CREATE POLICY own ON ${name}.notes USING (owner = current_setting('app.user_id', true))`,
      ]
      const second = [`CREATE INDEX ON ${name}.notes (owner)`]
      const known = (db) =>
        rows(db, sql.raw(`SELECT 1 FROM ${name}_journal.__drizzle_migrations`))
      try {
        await withDb({ max: 1 }, async (db) => {
          await db.execute(sql`SET search_path = public, pg_catalog`)
          await migrations(folder, [first])
          await migrate(db, settings)
          assert.equal((await known(db)).length, 1)
          await migrate(db, settings)
          // What the migration's transaction set for the session has come back with its client.
          assert.equal((await rows(db, sql`SHOW search_path`))[0].search_path, name)
          await migrations(folder, [first, second])
          await migrate(db, settings)
          assert.equal((await known(db)).length, 2)
          await migrations(folder, [first, second, ['SET search_path = nowhere', 'SELECT 1 / 0']])
          await rejection(migrate(db, settings))
          assert.equal((await known(db)).length, 2)
          assert.equal((await rows(db, sql`SHOW search_path`))[0].search_path, name)
        })
      } finally {
        await rm(folder, { recursive: true })
      }
    })

    timed('row-level security by a setting of the session or of the transaction', async () => {
      const owners = ['ada', 'bob', 'cyd']
      await Promise.all(
        owners.map((owner) =>
          withDb({ max: 1 }, async (db) => {
            await db.execute(sql`SELECT set_config('app.user_id', ${owner}, false)`)
            for (let n = 0; n < 15; ++n) {
              await db.insert(notes).values({ owner, note: `${n}` })
              const seen = await db.select().from(notes)
              assert.equal(seen.length, n + 1)
              assert.ok(seen.every((row) => row.owner === owner))
            }
            const other = owner === 'ada' ? 'bob' : 'ada'
            await db.transaction(async (tx) => {
              await tx.execute(sql`SELECT set_config('app.user_id', ${other}, true)`)
              assert.deepEqual(await tx.select().from(notes).where(eq(notes.owner, owner)), [])
            })
            assert.equal((await db.select().from(notes)).length, 15)
          }),
        ),
      )
      // A pool, each of whose connections is nobody.
      await withDb({ max: 5 }, (db) =>
        Promise.all(
          Array.from({ length: 25 }, async () =>
            assert.deepEqual(await db.select().from(notes), []),
          ),
        ),
      )
    })

    timed('temporary tables, locks and prepared queries of one session', () =>
      withDb({ max: 1 }, async (db) => {
        await db.execute(sql`CREATE TEMP TABLE picked (id int)`)
        await db.execute(sql`SELECT pg_advisory_lock(88001)`)
        const insert = sql`INSERT INTO picked VALUES (${1})`
        for (let n = 0; n < 10; ++n) await db.execute(insert)
        const find = db
          .select({ note: notes.note })
          .from(notes)
          .where(eq(notes.owner, sql.placeholder('owner')))
          .prepare('find_notes')
        assert.deepEqual(await find.execute({ owner: 'ada' }), [])
        assert.equal((await rows(db, sql`SELECT count(*)::int AS n FROM picked`))[0].n, 10)
        assert.equal((await rows(db, sql`SELECT pg_advisory_unlock(88001) AS ok`))[0].ok, true)
        await db.execute(sql`DROP TABLE picked`)
        await db.execute(sql`SET app.user_id = 'ada'`)
        assert.equal((await find.execute({ owner: 'ada' })).length, 15)
      }),
    )
  })
}
