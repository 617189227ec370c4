/** Resources of a whole pod, as Kubernetes 1.35 defaults and validates them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KubeObject } from '../client/client.ts'
import { pod, testServer } from '../client/test-server.ts'
import { objectAt } from './objects.ts'

const server = testServer({ controllers: false })
let count = 0
const create = (spec: object) =>
  server().admin.create(pod(`p${++count}`, 'default', { spec } as Partial<KubeObject>), { dryRun: true })
const app = (resources: object) => ({ name: 'app', image: 'app:1', resources })
const init = (cpu: string, restartPolicy?: string) => ({
  name: `i${++count}`,
  image: 'i:1',
  resources: { requests: { cpu } },
  ...(restartPolicy === undefined ? {} : { restartPolicy }),
})

test('if a pod has only limits, its requests are those of the containers, or else the limits', async () => {
  const requests = async (spec: object) => objectAt(await create(spec), 'spec', 'resources', 'requests')
  const resources = { limits: { cpu: '2', memory: '1Gi' } }
  assert.deepEqual(await requests({ resources }), { cpu: '2', memory: '1Gi' })
  assert.deepEqual(await requests({ resources, containers: [app({ requests: { cpu: '1' } })] }), {
    cpu: '1',
    memory: '1Gi',
  })
  const initContainers = [init('300m', 'Always'), init('900m')]
  assert.equal((await requests({ resources, initContainers })).cpu, '1200m')
  assert.deepEqual(await requests({ resources: { requests: { cpu: '1' } } }), { cpu: '1' })
})

test('containers that together request more than the pod are refused', async () => {
  const resources = { requests: { cpu: '1' } }
  await create({ resources, containers: [app({ requests: { cpu: '1' } })], initContainers: [init('1')] })
  await assert.rejects(
    create({
      resources,
      containers: [app({ requests: { cpu: '1' } })],
      initContainers: [init('5m', 'Always')],
    }),
    /spec\.resources\.requests\[cpu\]: Invalid value: "1": must be greater than or equal to aggregate container requests of 1005m/,
  )
})

test('a container’s limit may not exceed the pod’s, but an init container’s limit may', async () => {
  const resources = { limits: { cpu: '1' } }
  const [container] = [{ ...app({ limits: { cpu: '2' }, requests: { cpu: '1m' } }) }]
  await assert.rejects(
    create({ resources, containers: [container] }),
    /must be less than or equal to pod limits of 1/,
  )
  await create({ resources, initContainers: [{ ...container, name: 'init' }] })
})

test('the whole pod’s resources decide its QoS class', async () => {
  const qos = async (spec: object) => objectAt(await create(spec), 'status').qosClass
  const limits = { cpu: '1', memory: '1Gi' }
  assert.equal(await qos({ resources: { limits } }), 'Guaranteed')
  assert.equal(
    await qos({ resources: { limits }, containers: [app({ requests: { cpu: '1m' } })] }),
    'Burstable',
  )
  assert.equal(await qos({ resources: { requests: limits } }), 'Burstable')
})
