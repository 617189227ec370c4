import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isApiError } from './status.ts'
import { pod, testServer, until } from './test-server.ts'

const server = testServer({ controllers: false, listen: [{ host: '127.0.0.1', port: 0 }] })
const tcp = () => server().client(server().adminToken)

const outcome = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'ok',
    (error: unknown) =>
      isApiError(error) ? String(error.code) : ((error as NodeJS.ErrnoException).code ?? 'broken'),
  )

test('a status fault answers that code as often as asked, over TCP but not over the unix socket', async () => {
  await server().fault({ kind: 'status', code: 503, count: 2, retryAfterSeconds: 1 })
  assert.equal(await outcome(server().admin.list('pods')), 'ok')
  const answer = await tcp().request('GET', '/api/v1/pods')
  assert.equal(answer.status, 503)
  assert.equal(answer.headers['retry-after'], '1')
  assert.equal(await outcome(tcp().list('pods')), '503')
  assert.equal(await outcome(tcp().list('pods')), 'ok')
})

test('a fault can be limited to a path, a verb or a user, and to a time', async () => {
  await server().fault({ kind: 'status', code: 401, match: { path: '/openid' } })
  await server().fault({ kind: 'status', code: 500, match: { verb: 'watch' } })
  assert.equal(await outcome(tcp().raw('/openid/v1/jwks')), '401')
  assert.equal(await outcome(tcp().watch('pods', {}, () => {}).ended), '500')
  assert.equal(await outcome(tcp().list('pods')), 'ok')
  const { token } = await server().admin.createToken('default', 'default')
  const client = server().client(token)
  const match = { user: 'system:serviceaccount:default:default' }
  await server().fault({ kind: 'status', code: 429, match, seconds: 2 })
  assert.equal(await outcome(client.raw('/version')), '429')
  await until('the end of the fault', async () => (await outcome(client.raw('/version'))) === 'ok')
  await server().clearFaults()
  assert.equal(await outcome(tcp().raw('/openid/v1/jwks')), 'ok')
})

test('a body fault serves garbage, a reset breaks the connection, a hang never answers', async () => {
  await server().fault({ kind: 'body', body: '{"keys":[', match: { path: '/openid/v1/jwks' }, count: 1 })
  assert.equal((await tcp().request('GET', '/openid/v1/jwks')).body, '{"keys":[')
  await server().fault({ kind: 'reset', count: 1 })
  assert.equal(await outcome(tcp().list('pods')), 'ECONNRESET')
  await server().fault({ kind: 'hang', count: 1 })
  const hanging = tcp()
  const answer = outcome(hanging.list('pods'))
  const first = await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, 150, 'nothing'))])
  assert.equal(first, 'nothing')
  hanging.close()
  await answer
})

test('a gone fault answers watches from a version with HTTP 410', async () => {
  await server().fault({ kind: 'gone', count: 1 })
  const answer = await tcp().request('GET', '/api/v1/pods?watch=true&resourceVersion=5')
  assert.equal(answer.status, 410)
  assert.equal(JSON.parse(answer.body).reason, 'Expired')
})

test('while it refuses, connections are refused and watches broken; afterwards the same port serves the same objects', async () => {
  const created = await server().admin.create(pod('survivor'))
  const watch = tcp().watch('pods', {}, () => {})
  await watch.started
  await server().refuse()
  await assert.rejects(watch.ended)
  assert.equal(await outcome(tcp().list('pods')), 'ECONNREFUSED')
  await server().accept()
  assert.deepEqual(await tcp().get('pods', 'survivor', 'default'), created)
})

test('a restart keeps port, objects and keys, and forgets the history unless told to keep it', async () => {
  const { token } = await server().admin.createToken('default', 'default')
  const before = (await tcp().list('pods')).metadata.resourceVersion
  await server().restart({ downMs: 20, keepHistory: true })
  const kept = tcp().watch('pods', { resourceVersion: before, timeoutSeconds: 1 }, () => {})
  assert.equal(await outcome(kept.ended), 'ok')
  await server().restart()
  assert.equal(await outcome(tcp().watch('pods', { resourceVersion: before }, () => {}).ended), '410')
  assert.equal((await server().client(token).request('GET', '/version')).status, 200)
})
