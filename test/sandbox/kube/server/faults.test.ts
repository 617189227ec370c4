import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pod, testServer } from '../client/test-server.ts'
import { isApiError } from '../objects/status.ts'

const server = testServer({ controllers: false, listen: [{ host: '127.0.0.1', port: 0 }] })
const tcp = () => server().client(server().adminToken)

const outcome = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'ok',
    (error: unknown) =>
      isApiError(error) ? String(error.code) : ((error as NodeJS.ErrnoException).code ?? 'broken'),
  )

test('a body fault sends its text over TCP, but not over the unix socket, until it is cleared', async () => {
  await server().fault({ kind: 'body', body: '{"keys":[', match: { path: '/openid' } })
  assert.equal((await tcp().request('GET', '/openid/v1/jwks')).body, '{"keys":[')
  assert.equal(await outcome(server().admin.raw('/openid/v1/jwks')), 'ok')
  assert.equal(await outcome(tcp().list('pods')), 'ok')
  await server().clearFaults()
  assert.equal(await outcome(tcp().raw('/openid/v1/jwks')), 'ok')
})

test('a hang fault leaves requests unanswered, and can be limited to a verb', async () => {
  await server().fault({ kind: 'hang', match: { verb: 'watch' } })
  const hanging = tcp()
  const watch = hanging.watch('pods', {}, () => {})
  const first = await Promise.race([
    watch.started,
    new Promise((resolve) => setTimeout(resolve, 150, 'nothing')),
  ])
  assert.equal(first, 'nothing')
  assert.equal(await outcome(hanging.list('pods')), 'ok')
  watch.close()
  hanging.close()
  await server().clearFaults()
})

test('a server that refuses breaks connections and watches, and serves the same objects afterwards', async () => {
  const created = await server().admin.create(pod('survivor'))
  const watch = tcp().watch('pods', {}, () => {})
  await watch.started
  await server().refuse()
  await assert.rejects(watch.ended)
  assert.equal(await outcome(tcp().list('pods')), 'ECONNREFUSED')
  await server().accept()
  assert.deepEqual(await tcp().get('pods', 'survivor', 'default'), created)
})

test('a restart keeps port, objects and keys, and drops the history unless that is to be kept', async () => {
  const { token } = await server().admin.createToken('default', 'default')
  const before = (await tcp().list('pods')).metadata.resourceVersion
  await server().restart({ downMs: 20, keepHistory: true })
  const kept = tcp().watch('pods', { resourceVersion: before, timeoutSeconds: 1 }, () => {})
  assert.equal(await outcome(kept.ended), 'ok')
  await server().restart()
  assert.equal(await outcome(tcp().watch('pods', { resourceVersion: before }, () => {}).ended), '410')
  assert.equal((await server().client(token).request('GET', '/version')).status, 200)
})
