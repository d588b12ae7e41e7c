// drizzle-orm over both of its usual drivers, and `drizzle-kit push` as a process, on DATABASE_URL.
import { before, describe } from 'node:test'
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { asc, count, eq, relations, sql } from 'drizzle-orm'
import { drizzle as drizzleOnPg } from 'drizzle-orm/node-postgres'
import { drizzle as drizzleOnPostgresJs } from 'drizzle-orm/postgres-js'
import { boolean, integer, jsonb, pgSchema, serial, text, timestamp } from 'drizzle-orm/pg-core'
import pg from 'pg'
import postgres from 'postgres'
import { cleanUp, rejection, schema as schemaName, timed, url } from './support.mjs'

const schema = pgSchema(schemaName)
const users = schema.table('users', {
  id: serial('id').primaryKey(),
  email: text('email').notNull().unique(),
  profile: jsonb('profile').default({}).notNull(),
  active: boolean('active').default(true).notNull(),
  createdAt: timestamp('created_at', { withTimezone: true }).defaultNow().notNull(),
})
const posts = schema.table('posts', {
  id: serial('id').primaryKey(),
  author: integer('author')
    .notNull()
    .references(() => users.id, { onDelete: 'cascade' }),
  title: text('title').notNull(),
})
const tables = {
  users,
  posts,
  usersRelations: relations(users, ({ many }) => ({ posts: many(posts) })),
  postsRelations: relations(posts, ({ one }) => ({
    author: one(users, { fields: [posts.author], references: [users.id] }),
  })),
}
const pushed = `${schemaName}_push`

async function direct(...query) {
  const client = new pg.Client(url)
  await client.connect()
  try {
    return await client.query(...query)
  } finally {
    await client.end()
  }
}

before(() =>
  direct(`CREATE SCHEMA ${schemaName};
    CREATE TABLE ${schemaName}.users (id serial PRIMARY KEY, email text NOT NULL UNIQUE,
      profile jsonb NOT NULL DEFAULT '{}', active bool NOT NULL DEFAULT true,
      created_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE ${schemaName}.posts (id serial PRIMARY KEY,
      author int NOT NULL REFERENCES ${schemaName}.users ON DELETE CASCADE, title text NOT NULL)`),
)

cleanUp(() =>
  direct(`DROP SCHEMA IF EXISTS ${schemaName} CASCADE; DROP SCHEMA IF EXISTS ${pushed} CASCADE`),
)

// As applications open them: node-postgres with a pool, postgres.js with and without prepared statements.
const drivers = {
  'node-postgres': () => {
    const client = new pg.Pool({ connectionString: url, max: 10 })
    return [drizzleOnPg(client, { schema: tables }), () => client.end()]
  },
  'postgres.js': () => {
    const client = postgres(url, { max: 10, onnotice: () => {} })
    return [drizzleOnPostgresJs(client, { schema: tables }), () => client.end({ timeout: 5 })]
  },
  'postgres.js, prepare: false': () => {
    const client = postgres(url, { max: 10, prepare: false, onnotice: () => {} })
    return [drizzleOnPostgresJs(client, { schema: tables }), () => client.end({ timeout: 5 })]
  },
}

for (const [driver, open] of Object.entries(drivers)) {
  const withDb = async (work) => {
    const [db, close] = open()
    try {
      await db.delete(users)
      return await work(db)
    } finally {
      await close()
    }
  }
  const emails = async (db) =>
    (await db.select({ email: users.email }).from(users).orderBy(asc(users.email))).map(
      (u) => u.email,
    )

  describe(`drizzle-orm on ${driver}`, () => {
    timed('insert, select, update, delete, upsert', () =>
      withDb(async (db) => {
        const [ada] = await db
          .insert(users)
          .values({ email: 'ada', profile: { tags: ['x', null] } })
          .returning()
        assert.deepEqual([ada.email, ada.profile, ada.active], ['ada', { tags: ['x', null] }, true])
        assert.ok(ada.createdAt instanceof Date)
        await db.insert(users).values([{ email: 'bob' }, { email: 'cyd', active: false }])
        await db.update(users).set({ active: false }).where(eq(users.email, 'bob'))
        await db
          .insert(users)
          .values({ email: 'ada' })
          .onConflictDoUpdate({ target: users.email, set: { active: false } })
        assert.deepEqual(
          await db.select({ n: count() }).from(users).where(eq(users.active, false)),
          [{ n: 3 }],
        )
        await db.delete(users).where(eq(users.email, 'cyd'))
        assert.deepEqual(await emails(db), ['ada', 'bob'])
      }),
    )

    timed('joins, relational queries, raw SQL', () =>
      withDb(async (db) => {
        const [ada] = await db.insert(users).values({ email: 'ada' }).returning()
        await db.insert(posts).values([
          { author: ada.id, title: 'one' },
          { author: ada.id, title: 'two' },
        ])
        const joined = await db
          .select({ email: users.email, title: posts.title })
          .from(posts)
          .innerJoin(users, eq(users.id, posts.author))
          .orderBy(asc(posts.title))
        assert.deepEqual(joined, [
          { email: 'ada', title: 'one' },
          { email: 'ada', title: 'two' },
        ])
        const nested = await db.query.users.findFirst({
          with: { posts: { columns: { title: true }, orderBy: asc(posts.title) } },
        })
        assert.deepEqual(nested.posts, [{ title: 'one' }, { title: 'two' }])
        const raw = await db.execute(sql`SELECT ${5}::int AS n`)
        assert.equal((raw.rows ?? raw)[0].n, 5)
      }),
    )

    timed('transactions: commit, nested ones, rollback', () =>
      withDb(async (db) => {
        await db.transaction(
          async (tx) => {
            await tx.insert(users).values({ email: 'kept' })
            await rejection(
              tx.transaction(async (inner) => {
                await inner.insert(users).values({ email: 'undone' })
                await inner.insert(users).values({ email: 'kept' })
              }),
            )
            await tx.transaction((inner) => inner.insert(users).values({ email: 'nested' }))
          },
          { isolationLevel: 'repeatable read' },
        )
        await rejection(
          db.transaction(async (tx) => {
            await tx.insert(users).values({ email: 'rolled back' })
            tx.rollback()
          }),
        )
        assert.deepEqual(await emails(db), ['kept', 'nested'])
      }),
    )

    timed('prepared queries with placeholders, on many connections at once', () =>
      withDb(async (db) => {
        await db
          .insert(users)
          .values(Array.from({ length: 50 }, (_, n) => ({ email: `u${n}`, profile: { n } })))
        const find = db
          .select({ profile: users.profile })
          .from(users)
          .where(eq(users.email, sql.placeholder('email')))
          .prepare('find_user')
        const found = await Promise.all(
          Array.from({ length: 200 }, (_, n) => find.execute({ email: `u${n % 50}` })),
        )
        found.forEach((one, n) => assert.deepEqual(one, [{ profile: { n: n % 50 } }]))
      }),
    )

    timed('an error keeps its SQLSTATE and constraint', () =>
      withDb(async (db) => {
        await db.insert(users).values({ email: 'twice' })
        const error = await rejection(db.insert(users).values({ email: 'twice' }))
        const cause = error.cause ?? error
        assert.equal(cause.code, '23505')
        assert.equal(cause.constraint ?? cause.constraint_name, 'users_email_key')
      }),
    )
  })
}

describe('drizzle-kit', () => {
  const here = (path) => fileURLToPath(new URL(path, import.meta.url))

  // drizzle-kit 0.31 exits with 0 even when a statement failed, so what it says is looked at.
  async function push(version) {
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      [here('node_modules/drizzle-kit/bin.cjs'), 'push', '--config=drizzle/config.ts', '--force'],
      {
        cwd: here('.'),
        timeout: 60_000,
        env: {
          ...process.env,
          NODE_TEST_SCHEMA: pushed,
          NODE_TEST_SCHEMA_FILE: `drizzle/schema_v${version}.ts`,
        },
      },
    )
    return stdout + stderr
  }

  const columns = async () =>
    (
      await direct(
        "SELECT table_name || '.' || column_name AS c FROM information_schema.columns WHERE table_schema = $1 ORDER BY 1",
        [pushed],
      )
    ).rows.map((row) => row.c)

  timed(
    'push makes the tables, then finds nothing to do, then what changed',
    async () => {
      const first = [
        'posts.author',
        'posts.id',
        'posts.title',
        'users.active',
        'users.created_at',
        'users.email',
        'users.id',
        'users.mood',
        'users.profile',
      ]
      assert.match(await push(1), /Changes applied/)
      assert.deepEqual(await columns(), first)
      assert.match(await push(1), /No changes detected/)

      await direct(`INSERT INTO ${pushed}.users (email) VALUES ('kept')`)
      assert.match(await push(2), /Changes applied/)
      assert.deepEqual(await columns(), [...first, 'posts.score', 'tags.post', 'tags.tag'].sort())
      assert.match(await push(2), /No changes detected/)
      assert.deepEqual((await direct(`SELECT email, mood FROM ${pushed}.users`)).rows, [
        { email: 'kept', mood: 'good' },
      ])
    },
    { timeout: 240_000 },
  )
})
