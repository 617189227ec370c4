/** The web identity token of pods with that credential source: where the sidecar sends it, and where it never does. */
import assert from 'node:assert/strict'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, beforeEach, test } from 'node:test'
import { CREDENTIALS_PATH, METADATA_PATH, POD_PATH, WEB_IDENTITY_HEADER } from '../../common/protocol.ts'
import { brokerClient } from '../../sidecar/broker/client.ts'

const HEADER = WEB_IDENTITY_HEADER.toLowerCase()
const asked: { readonly path: string | undefined; readonly headers: IncomingHttpHeaders }[] = []
const server = createServer(({ url, headers }, response) => {
  asked.push({ path: url, headers })
  response.end('{}')
})
let base = ''

before(async () => {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
after(() => server.close())
beforeEach(() => void asked.splice(0))

const options = () => ({ urls: [base], readToken: () => 'own.token' })
const isTrusted = (host: string) => host === '127.0.0.1'

test('the web identity token is sent to the broker beside the sidecar’s own, read anew each time, and only for credentials', async () => {
  let read = 0
  const ask = brokerClient({ ...options(), isTrusted, readWebIdentity: () => `web.identity.${++read}` })
  for (const path of [CREDENTIALS_PATH, METADATA_PATH, POD_PATH, CREDENTIALS_PATH]) await ask(path)
  assert.deepEqual(
    asked.map(({ path, headers }) => [path, headers.authorization, headers[HEADER]]),
    [
      [CREDENTIALS_PATH, 'Bearer own.token', 'web.identity.1'],
      [METADATA_PATH, 'Bearer own.token', undefined],
      [POD_PATH, 'Bearer own.token', undefined],
      [CREDENTIALS_PATH, 'Bearer own.token', 'web.identity.2'],
    ],
  )
})

test('the web identity token is sent to no address but the broker’s on the node itself, whatever the URLs say', async () => {
  const ask = brokerClient({ ...options(), readWebIdentity: () => 'web.identity' })
  const reply = await ask(CREDENTIALS_PATH)
  assert.equal(reply.kind, 'answer')
  assert.deepEqual(
    asked.map(({ headers }) => [headers.authorization, headers[HEADER]]),
    [['Bearer own.token', undefined]],
  )
})

test('no request is sent if the web identity token cannot be read, and the failure names the file', async () => {
  const readWebIdentity = () => {
    throw new Error('The service-account token file /there cannot be read (ENOENT).')
  }
  const reply = await brokerClient({ ...options(), isTrusted, readWebIdentity })(CREDENTIALS_PATH)
  assert.deepEqual(reply, {
    kind: 'failure',
    code: 'token-unreadable',
    detail: 'The service-account token file /there cannot be read (ENOENT).',
  })
  assert.equal(asked.length, 0)
})
