/**
 * Injectors of neighbouring releases at the same time, as during a rollout: they share the authority in a Secret and the
 * webhook configurations. A pod that one of them has admitted is also allowed by the other.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parse } from 'yaml'
import { NAME, objects, PLACE } from '../injector/authority-objects.ts'
import { applyPatch, IMAGES, pod, reviewOf, withApiServerDefaults } from '../injector/fixtures.ts'
import { httpsClient } from '../injector/https.ts'
import { recordedPods } from '../previous-release/recorded.ts'
import { ApiServer, type KubeObject } from '../sandbox/kube/client/client.ts'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import { CROSSED, openReleases, type Releases, type Side } from './releases.ts'

/** Pods that only need an allowed role. */
const CASES = [
  ...recordedPods().filter(({ name }) => /^(?:defaults|annotation: |pod: )/.test(name)),
  // This release's containers request CPU in proportion, those of 0.1.0 always 5m (decision 0105).
  ...['100m', '4'].map((cpu) => ({
    name: `pod: requests ${cpu} of CPU`,
    pod: pod({ containers: [{ name: 'app', image: 'orders', resources: { requests: { cpu } } }] }),
  })),
]
/**
 * Settings for what injectors of 0.1.0 write and accept. A replica of this release finds the pods of a 0.1.0 replica and
 * writes the same (decision 0098), but here neither replica has a pod.
 */
const AS_BEFORE = ['--token-expiration-seconds=3600', '--start=two-stage']

const FILES = new URL('../../charts/pod2iam/files/', import.meta.url)

type Injector = {
  readonly side: Side
  readonly child: ChildProcess
  readonly port: number
  readonly health: string
}

describe('between neighbouring releases', () => {
  let releases: Releases
  const directories: string[] = []
  const children: ChildProcess[] = []
  const servers: ApiServer[] = []

  before(async () => {
    releases = await openReleases('injector')
  })
  after(async () => {
    for (const child of children) child.kill('SIGKILL')
    for (const api of servers) await api.stop()
    for (const directory of directories) await rm(directory, { recursive: true, force: true })
    releases?.remove()
  })

  /** A cluster as after the chart's installation. Its Service has no endpoint, since the test calls the injectors itself. */
  const cluster = async (): Promise<ApiServer> => {
    const directory = await mkdtemp(join(tmpdir(), 'p2s-'))
    directories.push(directory)
    const api = await ApiServer.start({ directory, controllers: false })
    servers.push(api)
    for (const object of objects(await freePort())) await api.admin.create(object as unknown as KubeObject)
    for (const file of ['webhooks.yaml', 'validating-webhooks.yaml']) {
      const configuration = parse(await readFile(new URL(file, FILES), 'utf8'))
      await api.admin.apply(JSON.parse(JSON.stringify(configuration)))
    }
    return api
  }
  const start = async (api: ApiServer, side: Side): Promise<Injector> => {
    const [port, healthPort] = [await freePort(), await freePort()]
    const { token } = await api.admin.createToken(PLACE, NAME)
    const argv = [
      ...[releases.file(side, 'injector'), ...IMAGES, `--kubeconfig=${await api.kubeconfig(token)}`],
      ...[`--port=${port}`, `--health-port=${healthPort}`, `--ca-secret=${PLACE}/${NAME}-ca`],
      ...[`--service-name=${NAME}`, `--webhook-configuration=${NAME}`],
      ...(side === 'this' ? AS_BEFORE : []),
    ]
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'inherit'], env: {} })
    children.push(child)
    const health = `http://127.0.0.1:${healthPort}`
    await until(async () => {
      if (child.exitCode !== null) throw new Error(`the injector of ${side} ended with ${child.exitCode}`)
      return fetch(`${health}/readyz`).then(
        ({ status }) => status === 200,
        () => false,
      )
    })
    return { side, child, port, health }
  }
  /** The CA bundle that the API server would trust. */
  const bundle = async (api: ApiServer): Promise<string> => {
    const found = await api.admin.get('mutatingwebhookconfigurations', NAME)
    const { webhooks } = found as unknown as { webhooks: { clientConfig: { caBundle: string } }[] }
    return Buffer.from(webhooks[0]?.clientConfig.caBundle ?? '', 'base64').toString('utf8')
  }
  const review = async ({ port }: Injector, ca: string, path: string, object: unknown) => {
    const client = httpsClient(ca, { servername: `${NAME}.${PLACE}.svc` })
    const { body } = await client.send(port, 'POST', path, JSON.stringify(reviewOf(object)))
    client.close()
    return JSON.parse(body).response as { allowed: boolean; patch?: string; status?: { message: string } }
  }

  for (const [first, second] of CROSSED)
    test(`the injector of ${second} release shares the authority with one of ${first} release, and each allows the other’s pods`, async () => {
      const api = await cluster()
      const one = await start(api, first)
      const trusted = await bundle(api)
      const other = await start(api, second)
      assert.equal(await bundle(api), trusted, 'there is no new authority')
      for (const injector of [one, other]) {
        const { allowed, patch } = await review(injector, trusted, '/mutate', pod())
        assert.deepEqual([allowed, typeof patch], [true, 'string'], injector.side)
      }
      for (const [mutating, validating] of [
        [one, other],
        [other, one],
      ] as const)
        for (const { name, pod: submitted } of CASES) {
          const { patch = '' } = await review(mutating, trusted, '/mutate', submitted)
          const ops = JSON.parse(Buffer.from(patch, 'base64').toString('utf8'))
          const admitted = withApiServerDefaults(applyPatch(submitted, ops))
          // If another webhook changes the pod afterwards, the API server calls a replica again, which may be the other one.
          const again = await review(validating, trusted, '/mutate', admitted)
          const { allowed, status } = await review(validating, trusted, '/validate', admitted)
          assert.deepEqual([again.allowed, allowed], [true, true], `${name}: ${status?.message}`)
        }
      for (const { child } of [one, other]) child.kill('SIGKILL')
    })
})
