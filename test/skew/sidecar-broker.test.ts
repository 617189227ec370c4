/**
 * Sidecar, broker and injector of neighbouring releases, each way, over TCP: a DaemonSet rolls node by node, and a pod keeps the containers
 * it was created with. The cluster, AWS and the firewall's report are the sandbox's.
 */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { httpRequest } from '../../common/http-request.ts'
import { CREDENTIALS_PATH, METADATA_PATH } from '../../common/protocol.ts'
import { NODE, World } from '../broker/world.ts'
import { ask } from '../sidecar/support/raw.ts'
import { freshToken } from '../sidecar/support/table.ts'
import { until } from '../support/until.ts'
import { type Admitted, admittedBy, admittedWith } from './admitted.ts'
import { type Running, startBroker, startSidecar } from './processes.ts'
import { CROSSED, openReleases, PAIRINGS, type Releases, type Side } from './releases.ts'
import { createAdmitted, type WorldPod } from './world-pods.ts'

const ROLES = ['shop-orders', 'jobs-base', 'jobs-report']
const IAM = '/latest/meta-data/iam/security-credentials/'
const TOKEN = 'X-aws-ec2-metadata-token'
/** Pods whose sidecar runs. For the others the test sends the request of their sidecar to the broker. */
const RUN = [
  'defaults',
  'annotation: external id',
  'namespace: all, by its default role',
  'setting: everything at once',
]
/** Settings that brokers share with injectors. */
const SHARED = /^--(?:role-key|base-role-arn|namespace-restriction-format)=/

describe('between neighbouring releases', () => {
  let world: World
  let releases: Releases
  const children: ChildProcess[] = []

  before(async () => {
    ;[world, releases] = await Promise.all([World.start(), openReleases('sidecar', 'broker')])
    for (const name of ROLES) await world.role(`arn:aws:iam::111111111111:role/${name}`)
  })
  after(async () => {
    for (const child of children) child.kill('SIGKILL')
    releases?.remove()
    await world?.stop()
  })

  const broker = async (side: Side, flags: readonly string[] = []): Promise<Running> => {
    const env = { PATH: process.env.PATH ?? '', ...world.aws.environment() }
    const own = [`--node-name=${NODE}`, `--kubeconfig=${world.kubeconfig}`]
    const state = `--state-dir=${join(world.directory, 'state')}`
    const running = await startBroker(releases, side, env, [...own, state, ...flags])
    children.push(running.child)
    return running
  }
  const sidecar = async (side: Side, { sidecar, token }: WorldPod, port: number): Promise<Running> => {
    const { directory } = world
    const brokerUrl = `http://127.0.0.77:${port}`
    const running = await startSidecar(releases, side, sidecar, { directory, token, brokerUrl })
    children.push(running.child)
    return running
  }
  /** A broker's answer to a pod: `ok` or a code. The request is repeated while the broker has too many pods to read. */
  const codeAt = async (port: number, { token }: WorldPod): Promise<string> => {
    const url = new URL(`http://127.0.0.77:${port}${CREDENTIALS_PATH}`)
    const headers = { authorization: `Bearer ${token}` }
    for (const end = Date.now() + 30_000; ; await sleep(100)) {
      const { status, body } = await httpRequest(url, { headers, timeoutMs: 15_000, maxBytes: 65_536 })
      const { code, detail = '' } = JSON.parse(body)
      if (status === 200) return 'ok'
      if (!detail.startsWith('too many pods are asking') || Date.now() > end) return `${code}`
    }
  }
  const expected = ({ name }: Admitted) =>
    /metadata only|without a default role/.test(name) ? 'role-not-set' : 'ok'

  for (const [ofBroker, ofInjector] of CROSSED)
    test(`the broker of ${ofBroker} release accepts every pod as the injector of ${ofInjector} release admits it`, async () => {
      const shared = ({ settings }: Admitted) => settings.filter((flag) => SHARED.test(flag)).join('\n')
      for (const [flags, cases] of Map.groupBy(admittedBy(ofInjector), shared)) {
        const running = await broker(ofBroker, flags === '' ? [] : flags.split('\n'))
        for (const one of cases)
          assert.equal(await codeAt(running.port, await createAdmitted(world, one)), expected(one), one.name)
        running.child.kill('SIGKILL')
      }
    })

  test('a request of a later protocol is answered and logged with the releases by this broker, and with 404 by the previous one', async () => {
    for (const side of ['previous', 'this'] as const) {
      const { port, logs, child } = await broker(side)
      const url = new URL(`http://127.0.0.77:${port}/v2/credentials`)
      const { status, body } = await httpRequest(url, { timeoutMs: 15_000, maxBytes: 65_536 })
      const { code, detail } = JSON.parse(body)
      assert.deepEqual([status, code], [404, side === 'this' ? 'protocol-not-spoken' : undefined])
      const logged = () => logs.find((line) => line.code === 'protocol-not-spoken')
      if (side === 'this') assert.equal((await until('it is logged', logged)).detail, detail)
      child.kill('SIGKILL')
    }
  })

  test('a pod with web identity gets its role from a broker of the previous release, through the node’s role', async () => {
    const running = await broker('previous')
    const one = admittedWith('defaults', ['--credential-sources=web-identity'])
    const pod = await createAdmitted(world, one)
    assert.ok(pod.sidecar.env?.some(({ value }) => value === 'web-identity'))
    const { child, readyz, port } = await sidecar('this', pod, running.port)
    await until('ready', async () => (await readyz()).ready)
    const headers = { [TOKEN]: await freshToken(port) }
    const get = async (path: string) => (await ask(port, { path, headers })).body
    assert.equal(JSON.parse(await get(IAM + (await get(IAM)))).Code, 'Success')
    child.kill('SIGKILL')
    running.child.kill('SIGKILL')
  })

  test('a pod with session policies is refused by a broker of the previous release, which would give it all rights of its role', async () => {
    const arn = await world.aws.putManagedPolicy({
      arn: 'arn:aws:iam::aws:policy/logs',
      statements: [{ Effect: 'Allow', Action: 'logs:*', Resource: '*' }],
    })
    const annotations = { 'iam.amazonaws.com/session-policy-arns': JSON.stringify([arn]) }
    for (const [side, code] of [
      ['previous', 'pod-not-injected'],
      ['this', 'ok'],
    ] as const) {
      const running = await broker(side)
      const pod = await createAdmitted(world, admittedWith('defaults', [], annotations))
      assert.equal(await codeAt(running.port, pod), code, side)
      running.child.kill('SIGKILL')
    }
    // A pod that an injector of the previous release has admitted, which does not know the annotation.
    const theirs = admittedBy('previous').find(({ name }) => name === 'defaults') ?? assert.fail()
    const { metadata } = theirs.admitted
    const unseen = { ...metadata, annotations: { ...metadata.annotations, ...annotations } }
    const running = await broker('this')
    const pod = await createAdmitted(world, { ...theirs, admitted: { ...theirs.admitted, metadata: unseen } })
    assert.equal(await codeAt(running.port, pod), 'identity-changed')
    running.child.kill('SIGKILL')
  })

  test('a pod of the previous release is served by a broker with web identity and the node’s role, and refused by one with web identity only', async () => {
    const one = admittedBy('previous').find(({ name }) => name === 'defaults') ?? assert.fail()
    for (const [sources, code] of [
      ['node-role,web-identity', 'ok'],
      ['web-identity,node-role', 'ok'],
      ['web-identity', 'role-not-allowed'],
    ] as const) {
      const running = await broker('this', [`--credential-sources=${sources}`])
      assert.equal(await codeAt(running.port, await createAdmitted(world, one)), code, sources)
      running.child.kill('SIGKILL')
    }
  })

  for (const [ofSidecar, ofBroker] of PAIRINGS)
    test(`the sidecar of ${ofSidecar} release serves the credentials and metadata of the broker of ${ofBroker} release`, async () => {
      const running = await broker(ofBroker)
      for (const one of admittedBy(ofSidecar).filter(({ name }) => RUN.includes(name))) {
        const { child, readyz, port } = await sidecar(
          ofSidecar,
          await createAdmitted(world, one),
          running.port,
        )
        await until(`${one.name}: ready`, async () => (await readyz()).ready)
        const headers = { [TOKEN]: await freshToken(port) }
        const get = async (path: string) => (await ask(port, { path, headers })).body
        const credentials = async () => JSON.parse(await get(IAM + (await get(IAM))))
        // With the startup gate off it is ready before there are credentials.
        const { Code, AccessKeyId } = await until(`${one.name}: credentials`, async () => {
          const document = await credentials().catch(() => undefined)
          return document?.Code === 'Success' ? document : undefined
        })
        assert.deepEqual([Code, AccessKeyId.slice(0, 4)], ['Success', 'ASIA'], one.name)
        const region = () => get('/latest/meta-data/placement/region')
        await until(`${one.name}: region`, async () => (await region()) === world.aws.config.region)
        child.kill('SIGKILL')
      }
      running.child.kill('SIGKILL')
    })

  for (const [ofSidecar, ofBroker] of PAIRINGS)
    test(`the sidecar of ${ofSidecar} release serves all metadata that the broker of ${ofBroker} release sends, and no other`, async () => {
      const running = await broker(ofBroker)
      const one = admittedBy(ofSidecar).find(({ name }) => name === 'defaults') ?? assert.fail()
      const pod = await createAdmitted(world, one)
      const { child, readyz, port } = await sidecar(ofSidecar, pod, running.port)
      await until('ready', async () => (await readyz()).ready)
      const url = new URL(`http://127.0.0.77:${running.port}${METADATA_PATH}`)
      const limits = { timeoutMs: 15_000, maxBytes: 262_144 }
      const { body } = await httpRequest(url, {
        headers: { authorization: `Bearer ${pod.token}` },
        ...limits,
      })
      const sent: Record<string, string> = JSON.parse(body)
      assert.ok(Object.keys(sent).length > 10)
      const headers = { [TOKEN]: await freshToken(port) }
      const get = (path: string) => ask(port, { path: `/latest/${path}`, headers })
      for (const [key, text] of Object.entries(sent)) {
        const path = key.startsWith('dynamic/') ? key : `meta-data/${key}`
        await until(path, async () => (await get(path)).body === text)
      }
      for (const leaf of ['hostname', 'public-ipv4', 'security-groups', 'spot/instance-action'])
        assert.equal((await get(`meta-data/${leaf}`)).status, leaf in sent ? 200 : 404, leaf)
      const names = Object.keys(sent).filter((key) => !key.startsWith('dynamic/'))
      const listed = new Set([...names.map((key) => key.replace(/\/.*/, '/')), 'iam/'])
      assert.equal((await get('meta-data/')).body, [...listed].sort().join('\n'))
      child.kill('SIGKILL')
      running.child.kill('SIGKILL')
    })
})
