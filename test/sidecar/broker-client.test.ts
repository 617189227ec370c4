/** What the sidecar's client sends to the broker, and what it makes of addresses and releases. */
import assert from 'node:assert/strict'
import type { IncomingHttpHeaders } from 'node:http'
import { after, before, test } from 'node:test'
import { CREDENTIALS_PATH } from '../../common/protocol.ts'
import { brokerClient } from '../../sidecar/broker/client.ts'
import { freePort } from '../support/free-port.ts'
import { startBroker, type TestBroker } from './support/index.ts'

let broker: TestBroker
before(async () => {
  broker = await startBroker()
})
after(() => broker.close())

/** Answers with this release in the header `Server`, and remembers the headers of requests. */
function answerAs(server: string | undefined, seen: IncomingHttpHeaders[] = []): void {
  broker.credentials = (request, response) => {
    seen.push(request.headers)
    if (server !== undefined) response.setHeader('Server', server)
    response.end('{}')
  }
}

test('a request has the pod’s token, names the sidecar’s release, and asks for JSON', async () => {
  const seen: IncomingHttpHeaders[] = []
  answerAs(undefined, seen)
  await brokerClient({ urls: [broker.url], readToken: () => 'secret' })(CREDENTIALS_PATH)
  const { authorization, accept, 'user-agent': agent } = seen[0] ?? {}
  assert.deepEqual([authorization, accept], ['Bearer secret', 'application/json'])
  assert.match(agent ?? '', /^pod2iam-sidecar\/\d/)
})

test('the broker’s release is reported once, and again when it changes', async () => {
  const releases: string[] = []
  const ask = brokerClient({
    urls: [broker.url],
    readToken: () => 'secret',
    onRelease: (release) => releases.push(release),
  })
  for (const server of [
    ...['pod2iam-broker/0.1.0', 'pod2iam-broker/0.1.0', undefined, 'nginx', 'pod2iam-broker/a b'],
    ...['pod2iam-broker/0.2.0', 'pod2iam-broker/0.1.0'],
  ]) {
    answerAs(server)
    await ask(CREDENTIALS_PATH)
  }
  assert.deepEqual(releases, ['0.1.0', '0.2.0', '0.1.0'])
})

test('if no address answers, the failure says why for each of them, with the remedy', async () => {
  const urls = [`http://127.0.0.1:${await freePort()}`, `http://[::1]:${await freePort()}`]
  const answer = await brokerClient({ urls, readToken: () => 'secret' })(CREDENTIALS_PATH)
  assert.ok(answer.kind === 'failure')
  assert.equal(answer.code, 'broker-unreachable')
  for (const url of urls) assert.ok(answer.detail.includes(`${url}: `), answer.detail)
  assert.match(answer.detail, /Remedy: look at the node-guard pod of this node\.$/)
})
