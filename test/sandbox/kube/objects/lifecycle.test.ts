/** Lifecycle hooks, as the API server defaults and validates them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pod, testServer } from '../client/test-server.ts'
import { listAt, objectAt } from './objects.ts'
import { ApiError } from './status.ts'

const server = testServer({ controllers: false })
const exec = { command: ['/pod2iam/wait-started'] }
let count = 0

const create = (spec: object) =>
  server().admin.create(pod(`hooks-${++count}`, 'default', { spec: spec as Record<string, unknown> }))
const app = (lifecycle: object) => ({ containers: [{ name: 'app', image: 'app:1', lifecycle }] })
const init = (lifecycle: object, restartPolicy?: string) => ({
  initContainers: [
    { name: 'side', image: 'side:1', lifecycle, ...(restartPolicy === undefined ? {} : { restartPolicy }) },
  ],
})

test('an exec hook of an app or of a native sidecar is stored as it is written', async () => {
  for (const [list, spec] of [
    ['containers', app({ postStart: { exec } })],
    ['initContainers', init({ postStart: { exec } }, 'Always')],
  ] as const) {
    const [container] = listAt(await create(spec), 'spec', list)
    assert.deepEqual(container?.lifecycle, { postStart: { exec } })
  }
})

test('an httpGet hook gets default path and scheme', async () => {
  const [container] = listAt(
    await create(
      app({ postStart: { httpGet: { port: 80 } }, preStop: { httpGet: { port: 'web', path: '/x' } } }),
    ),
    'spec',
    'containers',
  )
  assert.deepEqual(objectAt(container, 'lifecycle'), {
    postStart: { httpGet: { path: '/', port: 80, scheme: 'HTTP' } },
    preStop: { httpGet: { path: '/x', port: 'web', scheme: 'HTTP' } },
  })
})

test('a stop signal is dropped', async () => {
  const lifecycleOf = async (lifecycle: object) =>
    listAt(await create(app(lifecycle)), 'spec', 'containers')[0]?.lifecycle
  assert.equal(await lifecycleOf({ stopSignal: 'SIGUSR1' }), undefined)
  assert.deepEqual(await lifecycleOf({ stopSignal: 'SIGUSR1', postStart: { exec } }), { postStart: { exec } })
})

test('hooks in a pod template get the same defaults', async () => {
  const { admin } = server()
  const labels = { app: 'hooks' }
  const deployment = await admin.create({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'hooks', namespace: 'default' },
    spec: {
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: app({ preStop: { httpGet: { port: 80 } } }) },
    },
  })
  const [container] = listAt(deployment, 'spec', 'template', 'spec', 'containers')
  assert.deepEqual(container?.lifecycle, { preStop: { httpGet: { path: '/', port: 80, scheme: 'HTTP' } } })
})

const at = 'spec.containers[0].lifecycle'
const HTTP = { port: 80 }
for (const [title, spec, causes] of [
  [
    'a hook without a handler',
    app({ postStart: {} }),
    [`${at}.postStart: Required value: must specify a handler type`],
  ],
  [
    'a hook with two handlers',
    app({ preStop: { exec, sleep: { seconds: 1 }, httpGet: HTTP } }),
    [
      `${at}.preStop.httpGet: Forbidden: may not specify more than 1 handler type`,
      `${at}.preStop.sleep: Forbidden: may not specify more than 1 handler type`,
    ],
  ],
  [
    'a hook without a command',
    app({ postStart: { exec: {} } }),
    [`${at}.postStart.exec.command: Required value`],
  ],
  [
    'a port that is out of range',
    app({ postStart: { tcpSocket: { port: 0 } }, preStop: { httpGet: { port: 65536 } } }),
    [
      `${at}.postStart.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive`,
      `${at}.preStop.httpGet.port: Invalid value: 65536: must be between 1 and 65535, inclusive`,
    ],
  ],
  [
    'an unknown scheme',
    app({ postStart: { httpGet: { ...HTTP, scheme: 'FTP' } } }),
    [`${at}.postStart.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"`],
  ],
  [
    'a sleep that is longer than the grace period',
    { terminationGracePeriodSeconds: 5, ...app({ preStop: { sleep: { seconds: 6 } } }) },
    [
      `${at}.preStop.sleep: Invalid value: 6: must be non-negative and less than terminationGracePeriodSeconds (5)`,
    ],
  ],
  [
    'a hook of an init container that is no sidecar',
    init({ postStart: { exec } }),
    [
      'spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always',
    ],
  ],
  [
    'a sidecar’s hook without a handler',
    init({ postStart: {} }, 'Always'),
    ['spec.initContainers[0].lifecycle.postStart: Required value: must specify a handler type'],
  ],
] as const)
  test(`${title} is refused`, async () => {
    await assert.rejects(create(spec), (error) => {
      assert.ok(error instanceof ApiError, String(error))
      assert.equal(error.code, 422)
      const found = error.status.details?.causes ?? []
      assert.deepEqual(
        found.map(({ field, message }) => `${field}: ${message}`),
        causes,
      )
      return true
    })
  })

test('a hook of an ephemeral container is refused', async () => {
  const { admin } = server()
  const { metadata } = await create({})
  const ephemeralContainers = [{ name: 'debug', image: 'debug:1', lifecycle: { postStart: { exec } } }]
  await assert.rejects(
    admin.patch(
      'pods',
      metadata.name ?? '',
      'default',
      { spec: { ephemeralContainers } },
      {
        subresource: 'ephemeralcontainers',
      },
    ),
    /spec\.ephemeralContainers\[0\]\.lifecycle: Forbidden: cannot be set for an Ephemeral Container/,
  )
})
