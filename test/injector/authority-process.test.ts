/** The whole injector with its own authority and no more rights than it needs, called by the API server. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { KEYS } from '../../common/keys.ts'
import { ApiServer, type KubeObject } from '../sandbox/kube/client/client.ts'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import { NAME, objects, PLACE } from './authority-objects.ts'
import { type Dict, IMAGES, ROLE } from './fixtures.ts'

const MAIN = fileURLToPath(new URL('../../injector/main.ts', import.meta.url))
const FILES = new URL('../../charts/pod2iam/files/', import.meta.url)
describe('the injector with its own authority', () => {
  let directory: string
  let api: ApiServer
  let child: ChildProcess
  let health: string

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'p2i-'))
    api = await ApiServer.start({ directory, controllers: false })
    const [port, healthPort] = [await freePort(), await freePort()]
    health = `http://127.0.0.1:${healthPort}`
    for (const object of objects(port)) await api.admin.create(object as unknown as KubeObject)
    const { token } = await api.admin.createToken(PLACE, NAME)
    const argv = [
      ...[
        MAIN,
        ...IMAGES,
        `--kubeconfig=${await api.kubeconfig(token)}`,
        `--port=${port}`,
        `--health-port=${healthPort}`,
        '--drain-seconds=0',
      ],
      ...[`--ca-secret=${PLACE}/${NAME}-ca`, `--service-name=${NAME}`, `--webhook-configuration=${NAME}`],
    ]
    child = spawn(process.execPath, argv, { stdio: ['ignore', 'ignore', 'inherit'], env: {} })
  })
  after(async () => {
    if (child?.exitCode === null) child.kill('SIGKILL')
    await api?.stop()
    await rm(directory, { recursive: true, force: true })
  })

  const readiness = () =>
    fetch(`${health}/readyz`).then(
      async (answer) => ((await answer.json()) as { code: string }).code,
      () => 'not listening',
    )

  it('is not ready, and says why, until there is a configuration to write its bundle into', async () => {
    await until(async () => (await readiness()) === 'certificate-not-ready')
    for (const file of ['webhooks.yaml', 'validating-webhooks.yaml']) {
      const configuration = parse(await readFile(new URL(file, FILES), 'utf8'))
      await api.admin.apply(JSON.parse(JSON.stringify(configuration)))
    }
    await until(async () => (await readiness()) === 'ready')
  })

  it('admits pods with the certificate that it issued to itself', async () => {
    const pod = await api.admin.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'orders', namespace: 'shop', annotations: { [KEYS.role]: ROLE } },
      spec: { containers: [{ name: 'app', image: 'orders' }] },
    } as unknown as KubeObject)
    const { initContainers } = (pod as unknown as { spec: { initContainers: Dict[] } }).spec
    assert.deepEqual(
      initContainers.map(({ name }) => name),
      ['pod2iam-sidecar', 'pod2iam-gate'],
    )
  })

  it('reports whether its bundle is in sync, and has no key in its metrics', async () => {
    const metrics = await (await fetch(`${health}/metrics`)).text()
    assert.match(metrics, /pod2iam_injector_ca_bundle_in_sync [01]\n/)
    assert.doesNotMatch(metrics, /BEGIN/)
  })

  it('makes no request that its rights forbid', async () => {
    const own = async () =>
      (await api.calls()).filter(({ user }) => user === `system:serviceaccount:${PLACE}:${NAME}`)
    for (const right of ['get namespaces', 'watch namespaces', 'watch pods', 'get secrets', 'update secrets'])
      await until(async () => (await own()).some(({ verb, resource }) => `${verb} ${resource}` === right))
    assert.deepEqual(
      (await own()).filter(({ allowed }) => !allowed),
      [],
    )
  })

  it('ends with 0 on SIGTERM', async () => {
    const ended = once(child, 'exit')
    assert.ok(child.kill('SIGTERM'), 'it runs')
    assert.deepEqual(await ended, [0, null])
  })
})
