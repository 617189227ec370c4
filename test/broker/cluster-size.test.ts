/** The rest of a large cluster costs the broker of one node nothing. */
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { systemClock } from '../../common/clock.ts'
import { KEYS } from '../../common/keys.ts'
import { kubeClient } from '../../common/kube/client.ts'
import { kubeconfigAccess } from '../../common/kube/kubeconfig.ts'
import { eventually } from '../support/until.ts'
import { type Gate, openGate } from './gate.ts'
import { World } from './world.ts'

const OTHERS = 1000
/** Far less than the size of so many objects. */
const NOISE_BYTES = 8192

let world: World
let way: Gate

before(async () => {
  world = await World.start()
  await Promise.all([world.role('app'), world.namespace('shop')])
  const { hostname, port } = new URL(world.api.url())
  way = await openGate(() => ({ host: hostname, port: Number(port) }))
  // The same kubeconfig, but with the address of the gate.
  const config = JSON.parse(await readFile(world.kubeconfig, 'utf8'))
  config.clusters[0].cluster.server = `https://127.0.0.1:${way.port}`
  const path = join(world.api.directory, 'through-the-gate.json')
  await writeFile(path, JSON.stringify(config))
  world.deps = { kube: kubeClient(await kubeconfigAccess(path), systemClock) }
})
after(async () => {
  await way?.shut()
  await world.stop()
})

/** Pods of another node, and namespaces that did not opt in. */
async function grow(offset: number): Promise<void> {
  for (let index = offset; index < offset + OTHERS; index++) {
    const metadata = { name: `other-${index}`, namespace: 'shop', annotations: { [KEYS.role]: 'app' } }
    const spec = { nodeName: 'node-2', ...world.containers({ [KEYS.role]: 'app' }) }
    await world.api.admin.create({ apiVersion: 'v1', kind: 'Pod', metadata, spec })
    if (index % 4 === 0)
      await world.api.admin.create({
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name: `other-${index}` },
      })
  }
}

test('pods of other nodes and namespaces that did not opt in are neither listed nor watched', async () => {
  await world.broker()
  await grow(0)
  const web = await world.pod('shop', 'web', { role: 'app' })
  await eventually('served', async () => (await world.code(web)) === 'ok')
  const before = way.received()
  await grow(OTHERS)
  await world.api.bookmark()
  const another = await world.pod('shop', 'another', { role: 'app' })
  await eventually('served', async () => (await world.code(another)) === 'ok')
  assert.ok(way.received() - before < NOISE_BYTES, `${way.received() - before} bytes while watching`)

  const started = way.received()
  await world.broker()
  assert.equal(await world.code(web), 'ok')
  assert.ok(way.received() - started < 4 * NOISE_BYTES, `${way.received() - started} bytes for a start`)
  assert.match(await world.metrics(), /^pod2iam_broker_pods 2$/m)
})
