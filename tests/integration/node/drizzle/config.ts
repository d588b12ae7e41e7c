// drizzle-kit's configuration; the test chooses the schema file and gives the address.
import { defineConfig } from 'drizzle-kit'

export default defineConfig({
  dialect: 'postgresql',
  schema: process.env.NODE_TEST_SCHEMA_FILE!,
  schemaFilter: [process.env.NODE_TEST_SCHEMA!],
  dbCredentials: { url: process.env.DATABASE_URL! },
  verbose: true,
  strict: false,
})
