// node-redis 5 and 6, RESP 2 and 3.
import { describe } from 'node:test'
import assert from 'node:assert/strict'
import { host, password, port, project, sleep, timed, user, versions } from './support.mjs'

for (const name of versions('redis')) {
  const redis = await import(name)
  const { createClient, RESP_TYPES } = redis
  for (const RESP of [2, 3]) {
    const connected = async (database = project(), options = {}) => {
      const client = createClient({ socket: { host, port, reconnectStrategy: false }, database,
        username: user, password, RESP, ...options })
      client.on('error', () => {})
      await client.connect()
      return client
    }
    const withClient = async (work) => {
      const database = project()
      const client = await connected(database)
      try {
        await client.flushDb()
        return await work(client, database)
      } finally {
        if (client.isOpen) client.destroy()
      }
    }

    describe(`${name}, RESP${RESP}`, () => {
      timed('selects its database', () =>
        withClient(async (client, database) => {
          await client.set('where', String(database))
          const other = await connected(0)
          assert.equal(await other.exists('where'), 0)
          await other.select(database)
          assert.equal(await other.get('where'), String(database))
          other.destroy()
        }),
      )

      timed('strings, counters, buffers', () =>
        withClient(async (client) => {
          assert.equal(await client.set('a', 'x', { NX: true }), 'OK')
          assert.equal(await client.set('a', 'y', { NX: true }), null)
          assert.equal(await client.set('a', 'z', { EX: 100, GET: true }), 'x')
          assert.ok((await client.ttl('a')) > 98)
          assert.equal(await client.incrBy('n', 40), 40)
          assert.equal(await client.incrByFloat('f', 0.5), '0.5')
          assert.deepEqual(await client.mGet(['a', 'none']), ['z', null])
          const bytes = Buffer.from([0, 255, 13, 10, 128])
          await client.set(bytes, bytes)
          const binary = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer })
          assert.deepEqual(await binary.get(bytes), bytes)
          assert.equal(await client.del(['a', 'n', 'none']), 2)
          assert.equal(await client.getEx('f', { type: 'PX', value: 90000 }), '0.5')
          assert.ok((await client.pTTL('f')) > 80000)
          assert.equal(await client.copy('f', 'g'), 1)
          assert.equal(await client.rename('g', 'h'), 'OK')
          assert.equal(await client.type('h'), 'string')
        }),
      )

      timed('2,000 commands at once', () =>
        withClient(async (client) => {
          const all = []
          for (let i = 0; i < 2000; i++) all.push(client.incr('n'))
          assert.deepEqual(await Promise.all(all), [...Array(2000).keys()].map((i) => i + 1))
        }),
      )

      timed('multi, and its errors', () =>
        withClient(async (client) => {
          assert.deepEqual(await client.multi().set('a', '1').incr('a').get('a').exec(),
            ['OK', 2, '2'])
          await client.set('a', 'x')
          await assert.rejects(client.multi().incr('a').set('b', '1').exec())
          assert.equal(await client.get('b'), '1')
          await assert.rejects(client.multi().addCommand(['NOSUCH']).exec())
        }),
      )

      timed('watch aborts', () =>
        withClient(async (client, database) => {
          const other = await connected(database)
          await client.watch('w')
          await other.set('w', '1')
          await assert.rejects(client.multi().set('w', '2').exec(), redis.WatchError)
          assert.equal(await client.get('w'), '1')
          other.destroy()
        }),
      )

      timed('scanIterator gives every key', () =>
        withClient(async (client) => {
          const wanted = new Set()
          for (let i = 0; i < 2000; i++) wanted.add(`key:${i}`)
          await client.mSet([...wanted].map((key) => [key, '1']))
          await client.set('other', '1')
          const seen = new Set()
          for await (const keys of client.scanIterator({ MATCH: 'key:*', COUNT: 100 }))
            for (const key of keys) seen.add(key)
          assert.deepEqual(seen, wanted)
        }),
      )

      timed('a key expires', () =>
        withClient(async (client) => {
          await client.set('short', 'x', { PX: 30 })
          await sleep(60)
          assert.equal(await client.get('short'), null)
        }),
      )

      timed('errors reject and the connection goes on', () =>
        withClient(async (client) => {
          await client.set('a', 'x')
          await assert.rejects(client.incr('a'), /value is not an integer or out of range/)
          await assert.rejects(client.sendCommand(['NOSUCH', 'x']), /unknown command/)
          assert.equal(await client.ping(), 'PONG')
        }),
      )

      timed('info, config, close', () =>
        withClient(async (client) => {
          assert.match(await client.info(), /redis_version:/)
          assert.equal(typeof (await client.configGet('maxclients')).maxclients, 'string')
          await client.close()
        }),
      )

      timed('a database that cannot be selected does not connect', async () => {
        await assert.rejects(connected(4294967296))
      })

      timed('a wrong password is refused', async () => {
        if (!user) return
        await assert.rejects(connected(0, { password: 'wrong' }), /WRONGPASS/)
      })
    })
  }
}
