/** What can be changed in a pod only through its sub-resources, and Events as the broker writes them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type KubeObject, sinceKubernetes } from '../client/client.ts'
import { pod, testServer } from '../client/test-server.ts'
import { listAt, objectAt } from '../objects/objects.ts'
import { isApiError } from '../objects/status.ts'

const server = testServer({ controllers: false })
const admin = () => server().admin

const refused = (code: number, text: RegExp) => (error: unknown) => {
  assert.ok(isApiError(error, code), String(error))
  assert.match(error.message, text)
  return true
}
const requests = (cpu: string) => ({
  requests: { cpu, memory: '64Mi' },
  limits: { cpu: '1', memory: '64Mi' },
})
const DEBUGGER = { name: 'debug', image: 'debug:1' }

test('ephemeral containers are added only through their own sub-resource, get defaults, and cannot be removed', async () => {
  await admin().create(pod('debugged'))
  const put = (ephemeralContainers: object[], subresource?: string) =>
    admin().patch(
      'pods',
      'debugged',
      'default',
      { spec: { ephemeralContainers } },
      subresource === undefined ? {} : { subresource },
    )
  await assert.rejects(put([DEBUGGER]), refused(422, /pod updates may not change fields other than/))
  const [added] = listAt(await put([DEBUGGER], 'ephemeralcontainers'), 'spec', 'ephemeralContainers')
  assert.equal(added?.terminationMessagePath, '/dev/termination-log')
  assert.equal(added?.imagePullPolicy, 'IfNotPresent')
  await assert.rejects(
    put([], 'ephemeralcontainers'),
    refused(422, /existing ephemeral containers "debug" may not be removed/),
  )
  await assert.rejects(
    put([{ ...DEBUGGER, image: 'other:1' }], 'ephemeralcontainers'),
    refused(422, /existing ephemeral containers "debug" may not be changed/),
  )
  await assert.rejects(
    admin().create(
      pod('born', 'default', { spec: { ephemeralContainers: [DEBUGGER] } } as Partial<KubeObject>),
    ),
    refused(422, /spec.ephemeralContainers: Forbidden: cannot be set on create/),
  )
})

test('an ephemeral container may not have the name of another container', async () => {
  await admin().create(pod('named'))
  await assert.rejects(
    admin().patch(
      'pods',
      'named',
      'default',
      { spec: { ephemeralContainers: [{ name: 'app', image: 'x' }] } },
      { subresource: 'ephemeralcontainers' },
    ),
    refused(422, /spec.ephemeralContainers\[0\].name: Duplicate value: "app"/),
  )
})

const RESIZE = sinceKubernetes(33, 'resize of pods in place')
test(
  'resize alone changes resources of a pod, within its QoS class, and changes nothing else',
  RESIZE,
  async () => {
    const containers = [{ name: 'app', image: 'app:1', resources: requests('500m') }]
    await admin().create(pod('sized', 'default', { spec: { containers } }))
    const patch = (container: object, subresource?: string) =>
      admin().patch(
        'pods',
        'sized',
        'default',
        { spec: { containers: [{ name: 'app', ...container }] } },
        { type: 'strategic', ...(subresource === undefined ? {} : { subresource }) },
      )
    await assert.rejects(
      patch({ resources: requests('600m') }),
      refused(422, /pod updates may not change fields other than/),
    )
    const resized = await patch({ resources: requests('600m') }, 'resize')
    const [app] = listAt(resized, 'spec', 'containers')
    assert.equal(objectAt(app, 'resources', 'requests').cpu, '600m')
    const same = await patch({ image: 'other:1' }, 'resize')
    assert.equal(listAt(same, 'spec', 'containers')[0]?.image, 'app:1')
    await assert.rejects(
      patch({ resources: requests('1') }, 'resize'),
      refused(422, /Pod QOS Class may not change as a result of resizing/),
    )
  },
)

test('a deletion that names another uid is refused', async () => {
  const { metadata } = await admin().create(pod('kept'))
  await assert.rejects(
    admin().delete('pods', 'kept', 'default', { uid: '00000000-0000-0000-0000-000000000000' }),
    refused(
      409,
      /on Pod "kept": the UID in the precondition \(00000000-0000-0000-0000-000000000000\) does not match/,
    ),
  )
  await admin().delete('pods', 'kept', 'default', { uid: metadata.uid ?? '' })
  assert.equal(await admin().find('pods', 'kept', 'default'), undefined)
})

test('a merge patch counts up an Event’s series and keeps the other fields', async () => {
  const event = {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: { name: 'refused.1', namespace: 'default' },
    regarding: { kind: 'Pod', namespace: 'default', name: 'p', apiVersion: 'v1' },
    eventTime: '2026-01-01T00:00:00.000000Z',
    reportingController: 'pod2iam.dev/broker',
    reportingInstance: 'node1',
    action: 'Issue',
    reason: 'RoleNotAllowed',
    note: 'no',
    type: 'Warning',
  }
  await admin().create(event)
  for (const count of [2, 3]) {
    const series = { count, lastObservedTime: `2026-01-01T00:00:0${count}.000000Z` }
    const patched = await admin().patch('events.events.k8s.io', 'refused.1', 'default', { series })
    assert.deepEqual([patched.series, patched.note], [series, 'no'])
  }
  const core = await admin().get('events', 'refused.1', 'default')
  assert.deepEqual(objectAt(core, 'series').count, 3)
  const bad = { ...event, metadata: { ...event.metadata, name: 'refused.2' } }
  await assert.rejects(
    admin().create({ ...bad, reportingController: '' }),
    refused(422, /reportingController: Required value/),
  )
  await assert.rejects(
    admin().create({ ...bad, note: 'x'.repeat(1025) }),
    refused(422, /message: Invalid value: "": can have at most 1024 characters/),
  )
})
