// ioredis 5 and 6.
import { describe } from 'node:test'
import assert from 'node:assert/strict'
import { host, password, port, project, sleep, timed, user, versions } from './support.mjs'

for (const name of versions('ioredis')) {
  const { Redis } = await import(name)
  const withClient = async (work, options = {}) => {
    const db = project()
    const client = new Redis({
      host, port, db, username: user, password, maxRetriesPerRequest: 1, ...options,
    })
    client.on('error', () => {})
    try {
      await client.flushdb()
      return await work(client, db)
    } finally {
      client.disconnect()
    }
  }

  describe(name, () => {
    timed('becomes ready and selects its database', () =>
      withClient(async (client, db) => {
        assert.equal(client.status, 'ready')
        await client.set('where', String(db))
        const other = client.duplicate({ db: 0 })
        assert.equal(await other.exists('where'), 0)
        await other.select(db)
        assert.equal(await other.get('where'), String(db))
        other.disconnect()
      }),
    )

    timed('strings, counters, buffers', () =>
      withClient(async (client) => {
        assert.equal(await client.set('a', 'x', 'NX'), 'OK')
        assert.equal(await client.set('a', 'y', 'NX'), null)
        assert.equal(await client.set('a', 'z', 'EX', 100, 'GET'), 'x')
        assert.ok((await client.ttl('a')) > 98)
        assert.equal(await client.incrby('n', 40), 40)
        assert.equal(await client.incr('n'), 41)
        assert.equal(await client.incrbyfloat('f', '0.1'), '0.1')
        assert.deepEqual(await client.mget('a', 'none', 'n'), ['z', null, '41'])
        const bytes = Buffer.from([0, 255, 13, 10, 128])
        await client.set(bytes, bytes)
        assert.deepEqual(await client.getBuffer(bytes), bytes)
        assert.equal(await client.append('a', 'ü'), 3)
        assert.equal(await client.getrange('a', 0, 0), 'z')
        assert.equal(await client.del('a', 'n', 'none'), 2)
      }),
    )

    timed('pipeline and multi', () =>
      withClient(async (client) => {
        const many = client.pipeline()
        for (let i = 0; i < 5000; i++) many.set(`k${i}`, i).get(`k${i}`)
        const replies = await many.exec()
        assert.equal(replies.length, 10000)
        assert.deepEqual(replies[9999], [null, '4999'])
        const done = await client.multi().set('a', 'x').incr('a').get('a').exec()
        assert.deepEqual(done[0], [null, 'OK'])
        assert.match(done[1][0].message, /not an integer/)
        assert.deepEqual(done[2], [null, 'x'])
        await assert.rejects(client.multi().set('a').exec(), /EXECABORT|wrong number/)
      }),
    )

    timed('watch aborts', () =>
      withClient(async (client, db) => {
        const other = client.duplicate({ db })
        await client.watch('w')
        await other.set('w', 1)
        assert.equal(await client.multi().set('w', 2).exec(), null)
        assert.equal(await client.get('w'), '1')
        other.disconnect()
      }),
    )

    timed('scanStream gives every key', () =>
      withClient(async (client) => {
        const wanted = new Set()
        for (let i = 0; i < 2000; i++) wanted.add(`key:${i}`)
        await client.mset([...wanted].flatMap((key) => [key, 1]))
        await client.set('other', 1)
        const seen = new Set()
        for await (const keys of client.scanStream({ match: 'key:*', count: 100 }))
          for (const key of keys) seen.add(key)
        assert.deepEqual(seen, wanted)
      }),
    )

    timed('a key expires', () =>
      withClient(async (client) => {
        await client.set('short', 'x', 'PX', 30)
        await sleep(60)
        assert.equal(await client.get('short'), null)
        assert.equal(await client.pttl('short'), -2)
      }),
    )

    timed('errors reject and the connection goes on', () =>
      withClient(async (client) => {
        await client.set('a', 'x')
        await assert.rejects(client.incr('a'), {
          message: 'ERR value is not an integer or out of range',
        })
        await assert.rejects(client.call('NOSUCH', 'x'), /unknown command/i)
        assert.equal(await client.ping(), 'PONG')
      }),
    )

    timed('auto-pipelining, 200 at once', () =>
      withClient(
        async (client) => {
          const all = []
          for (let i = 0; i < 200; i++) all.push(client.incr('n'))
          assert.deepEqual(await Promise.all(all), [...Array(200).keys()].map((i) => i + 1))
        },
        { enableAutoPipelining: true },
      ),
    )

    timed('a database that cannot be selected takes no writes', async () => {
      const client = new Redis({ host, port, username: user, password, db: 4294967296,
        maxRetriesPerRequest: 1, retryStrategy: () => null })
      client.on('error', () => {})
      const wrote = await client.set('must-not-be-in-0', 1).catch((error) => error)
      client.disconnect()
      if (process.env.KV_TARGET !== 'redis') assert.ok(wrote instanceof Error, String(wrote))
      const zero = new Redis({ host, port, username: user, password })
      if (process.env.KV_TARGET !== 'redis')
        assert.equal(await zero.exists('must-not-be-in-0'), 0)
      zero.disconnect()
    })

    timed('quit', () =>
      withClient(async (client) => {
        await client.set('a', 1)
        assert.equal(await client.quit(), 'OK')
      }),
    )

    timed('a wrong password is refused', async () => {
      if (!user) return
      const client = new Redis({ host, port, username: user, password: 'wrong',
        retryStrategy: () => null, maxRetriesPerRequest: 0 })
      const errors = []
      client.on('error', (error) => errors.push(error.message))
      await assert.rejects(client.get('a'))
      client.disconnect()
    })
  })
}
