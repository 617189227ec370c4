/** An STS not written by us (moto) accepts our AssumeRoleWithWebIdentity: its parameters, its answer, and no signature. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import { needsPeer, peer } from '../peers/peers.ts'
import { freePort } from '../support/free-port.ts'
import { eventually } from '../support/until.ts'
import { World } from './world.ts'

const REGION = 'eu-west-1'

describe('moto, by web identity', () => {
  const needed = needsPeer('moto_server')
  let world: World
  let moto: ChildProcess
  let url: string
  let recorder: Server
  const sent: { readonly headers: IncomingHttpHeaders; readonly body: URLSearchParams }[] = []

  before(async () => {
    if (needed.skip) return
    const port = await freePort()
    moto = spawn(peer('moto_server') ?? '', ['-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' })
    url = `http://127.0.0.1:${port}`
    await eventually('moto', async () => (await fetch(`${url}/moto-api/`)).ok, { deadlineMs: 120_000 })
    world = await World.start()
    await world.namespace('shop', undefined, {
      'iam.amazonaws.com/allowed-roles': '["arn:aws:iam::123456789012:role/*"]',
    })
    recorder = await recording(port, sent)
    process.env.AWS_ENDPOINT_URL_STS = `http://127.0.0.1:${(recorder.address() as AddressInfo).port}`
    await world.broker('--credential-sources=web-identity', '--session-duration=43200')
  })
  after(async () => {
    recorder?.close()
    await world?.stop()
    if (moto?.kill('SIGKILL')) await once(moto, 'close')
  })

  test(
    'a pod gets a session of its role through a call with the parameters that AWS needs and without a signature',
    needed,
    async () => {
      const pod = await world.pod('shop', 'orders', {
        ...{ role: 'arn:aws:iam::123456789012:role/app', serviceAccount: 'orders', source: 'web-identity' },
      })
      const { status, body } = await world.ask(pod)
      assert.equal(status, 200, body.detail)
      const [call, ...more] = sent
      assert.deepEqual(more, [])
      assert.equal(call?.headers.authorization, undefined)
      assert.deepEqual(Object.fromEntries(call?.body ?? []), {
        Action: 'AssumeRoleWithWebIdentity',
        Version: '2011-06-15',
        RoleArn: 'arn:aws:iam::123456789012:role/app',
        RoleSessionName: 'shop.orders',
        DurationSeconds: '43200',
        WebIdentityToken: pod.webIdentity,
      })
      assert.ok(Date.parse(body.Expiration ?? '') - Date.now() > 43_000_000)
      // moto knows the session of these keys.
      const credentials = {
        accessKeyId: body.AccessKeyId ?? '',
        secretAccessKey: body.SecretAccessKey ?? '',
        sessionToken: body.Token ?? '',
      }
      const { Arn } = await new STSClient({ region: REGION, endpoint: url, credentials }).send(
        new GetCallerIdentityCommand({}),
      )
      assert.equal(Arn, 'arn:aws:sts::123456789012:assumed-role/app/shop.orders')
    },
  )
})

/** Passes requests on unchanged to `port` of this machine, and records them. */
async function recording(
  port: number,
  sent: { readonly headers: IncomingHttpHeaders; readonly body: URLSearchParams }[],
): Promise<Server> {
  const server = createServer(async (incoming, outgoing) => {
    let body = ''
    for await (const chunk of incoming) body += chunk
    const { method, url: path, headers } = incoming
    sent.push({ headers, body: new URLSearchParams(body) })
    request({ host: '127.0.0.1', port, method, path, headers }, (response) => {
      outgoing.writeHead(response.statusCode ?? 502, response.headers)
      response.pipe(outgoing)
    })
      .on('error', () => outgoing.destroy())
      .end(body)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}
