// The second push: one more column and one more table than schema_v1.
import {
  boolean,
  index,
  integer,
  jsonb,
  numeric,
  pgSchema,
  serial,
  text,
  timestamp,
  uniqueIndex,
} from 'drizzle-orm/pg-core'

export const schema = pgSchema(process.env.NODE_TEST_SCHEMA!)

export const mood = schema.enum('mood', ['good', 'bad'])

export const users = schema.table(
  'users',
  {
    id: serial('id').primaryKey(),
    email: text('email').notNull(),
    mood: mood('mood').default('good').notNull(),
    profile: jsonb('profile').default({}).notNull(),
    active: boolean('active').default(true).notNull(),
    createdAt: timestamp('created_at', { withTimezone: true }).defaultNow().notNull(),
  },
  (table) => [uniqueIndex('users_email').on(table.email)],
)

export const posts = schema.table(
  'posts',
  {
    id: serial('id').primaryKey(),
    author: integer('author')
      .notNull()
      .references(() => users.id, { onDelete: 'cascade' }),
    title: text('title').notNull(),
    score: numeric('score', { precision: 10, scale: 2 }),
  },
  (table) => [index('posts_author').on(table.author)],
)

export const tags = schema.table('tags', {
  post: integer('post')
    .notNull()
    .references(() => posts.id),
  tag: text('tag').notNull(),
})
