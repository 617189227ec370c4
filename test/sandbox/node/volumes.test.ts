import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { decodeJwt } from 'jose'
import { createSandbox, isReady, needsNamespaces, type Sandbox } from '../index.ts'
import type { PodSpec, SecurityContext, Volume } from './pod.ts'
import { apply, IMAGES, outputOf, pod, sh, untilTerm } from './test-pods.ts'

const TOKEN: Volume = {
  name: 'token',
  projected: {
    sources: [{ serviceAccountToken: { audience: 'pod2iam', expirationSeconds: 3600, path: 'token' } }],
  },
}
const MOUNT = { name: 'token', mountPath: '/var/run/secrets/pod2iam', readOnly: true }
const FILE = '/var/run/secrets/pod2iam/token'

describe('file modes of a projected token', needsNamespaces('root'), () => {
  let sandbox: Sandbox
  before(async () => {
    sandbox = await createSandbox({ images: { ...IMAGES } })
  })
  after(() => sandbox?.close())

  const as = (runAsUser: number): SecurityContext => ({ runAsUser })
  // The modes of a real cluster (Kubernetes 1.36).
  const rows: [
    string,
    PodSpec['securityContext'],
    SecurityContext,
    SecurityContext,
    number | undefined,
    string,
  ][] = [
    ['let everybody read without users and fsGroup', undefined, {}, {}, undefined, '644 0 0'],
    [
      'let everybody read if the app is root and the sidecar is not',
      undefined,
      {},
      as(65532),
      undefined,
      '644 0 0',
    ],
    ['let everybody read if there are two users', undefined, as(1000), as(65532), undefined, '644 0 0'],
    [
      'let only the user read if all containers have the same',
      undefined,
      as(65532),
      as(65532),
      undefined,
      '600 65532 0',
    ],
    ['let only the user read that the pod sets', { runAsUser: 1000 }, {}, {}, undefined, '600 1000 0'],
    ['let the fsGroup read', { fsGroup: 3000 }, {}, as(65532), undefined, '640 0 3000'],
    [
      'let the fsGroup and the user read that the pod sets',
      { fsGroup: 3000, runAsUser: 1000 },
      {},
      {},
      undefined,
      '640 1000 3000',
    ],
    [
      'follow defaultMode 0400 without fsGroup and with two users',
      undefined,
      as(0),
      as(65532),
      0o400,
      '400 0 0',
    ],
    [
      'do not follow defaultMode 0400 if all containers have one user',
      undefined,
      as(65532),
      as(65532),
      0o400,
      '600 65532 0',
    ],
  ]
  rows.forEach(([name, securityContext, app, sidecar, defaultMode, expected], i) => {
    test(name, async () => {
      const token = {
        ...TOKEN,
        projected: {
          sources: TOKEN.projected?.sources ?? [],
          ...(defaultMode === undefined ? {} : { defaultMode }),
        },
      }
      const script = `stat -Lc '%a %u %g' ${FILE}; cat ${FILE} >/dev/null 2>&1 && echo readable || echo refused`
      const spec: PodSpec = {
        restartPolicy: 'Never',
        ...(securityContext === undefined ? {} : { securityContext }),
        volumes: [token],
        initContainers: [sh('sidecar', script, { securityContext: sidecar, volumeMounts: [MOUNT] })],
        containers: [sh('app', 'true', { securityContext: app })],
      }
      const key = await apply(sandbox, pod(`mode-${i}`, spec))
      const [, stat, readable] =
        (await sandbox.pods.waitForLog(key, 'sidecar', /^(\d+ \d+ \d+)\n(readable|refused)/)) ?? []
      assert.equal(stat, expected)
      // The sidecar can read the file in every case except the one in which defaultMode prevents it.
      assert.equal(readable, expected.startsWith('400') ? 'refused' : 'readable')
    })
  })
})

describe('volumes', needsNamespaces(), () => {
  let sandbox: Sandbox
  before(async () => {
    sandbox = await createSandbox({ images: { ...IMAGES } })
  })
  after(() => sandbox?.close())

  test('a token is bound to its pod, has the requested audience, and is renewed on demand in one step', async () => {
    const key = await apply(
      sandbox,
      pod('token', { volumes: [TOKEN], containers: [sh('app', untilTerm(), { volumeMounts: [MOUNT] })] }),
    )
    const found = await sandbox.pods.waitFor(key, isReady)
    const read = async () => (await sandbox.pods.exec(key, ['cat', FILE])).stdout
    const first = await read()
    const claims = decodeJwt(first)
    assert.deepEqual(claims.aud, ['pod2iam'])
    assert.equal((claims.exp ?? 0) - (claims.iat ?? 0), 3600)
    assert.match(JSON.stringify(claims['kubernetes.io']), new RegExp(`"uid":"${found?.metadata.uid}"`))
    const link = async () =>
      (await sandbox.pods.exec(key, ['readlink', `${FILE}`, '/var/run/secrets/pod2iam/..data'])).stdout
    const [file, version] = (await link()).split('\n')
    assert.equal(file, '..data/token')
    await sandbox.pods.refreshVolumes(key)
    assert.notEqual(await read(), first)
    assert.notEqual((await link()).split('\n')[1], version)
  })

  test('a token is renewed after 80 % of its life', async () => {
    // The server's clock is behind: a token that it issues for ten minutes expires in four seconds by the clock of the node.
    await sandbox.api.setClockOffset(-596_000)
    const spec = { audience: 'x', expirationSeconds: 600, path: 'token' }
    const key = await apply(
      sandbox,
      pod('renew', {
        volumes: [{ name: 'token', projected: { sources: [{ serviceAccountToken: spec }] } }],
        containers: [
          sh(
            'app',
            untilTerm(
              `cat ${FILE}; a=$(cat ${FILE}); while [ "$a" = "$(cat ${FILE})" ]; do sleep 0.05; done; echo; echo renewed`,
            ),
            {
              volumeMounts: [MOUNT],
            },
          ),
        ],
      }),
    )
    const started = Date.now()
    await sandbox.pods.waitForLog(key, 'app', /renewed/)
    const waited = Date.now() - started
    await sandbox.api.setClockOffset(0)
    assert.ok(waited > 1500, `renewed after ${waited} ms`)
  })

  test('a container can use the API server with the automatic token and the variables of the service', async () => {
    const dir = '/var/run/secrets/kubernetes.io/serviceaccount'
    const url = 'https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/.well-known/openid-configuration'
    const script = `cat ${dir}/namespace; echo; curl -sS --cacert ${dir}/ca.crt -H "Authorization: Bearer $(cat ${dir}/token)" "${url}"`
    assert.match(await outputOf(sandbox, 'api', script), /^default\n\{"issuer":/)
  })

  test('configMap, secret and downwardAPI volumes have items and modes, and wait until the objects exist', async () => {
    const volumes: Volume[] = [
      { name: 'cm', configMap: { name: 'settings', items: [{ key: 'a', path: 'dir/a', mode: 0o440 }] } },
      { name: 'sec', secret: { secretName: 'keys', defaultMode: 0o400 } },
      {
        name: 'down',
        downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] },
      },
    ]
    const volumeMounts = ['cm', 'sec', 'down'].map((name) => ({ name, mountPath: `/v/${name}` }))
    const running = outputOf(
      sandbox,
      'files',
      `cd /v; stat -Lc '%n %a' cm/dir/a sec/key; cat cm/dir/a sec/key down/labels; touch cm/x 2>&1 || true`,
      { container: { volumeMounts }, spec: { volumes }, metadata: { labels: { app: 'x' } } },
    )
    const created = await sandbox.pods.waitFor('files', (p) => p?.status?.containerStatuses !== undefined)
    assert.deepEqual(created?.status?.containerStatuses?.[0]?.state, {
      waiting: { reason: 'ContainerCreating' },
    })
    await sandbox.kube.create({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'settings' },
      data: { a: 'A\n', b: 'B' },
    })
    await sandbox.kube.create({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'keys' },
      data: { key: btoa('K\n') },
    })
    assert.match(await running, /^cm\/dir\/a 440\nsec\/key 400\nA\nK\napp="x"touch: .*Read-only file system/)
  })

  test('emptyDir is shared between containers and, in memory, world-writable with the sticky bit', async () => {
    const script = `stat -c '%a' /mem /disk; cat /mem/from-init; grep -c ' /mem tmpfs' /proc/mounts`
    const output = await outputOf(sandbox, 'empty-dir', script, {
      spec: {
        volumes: [
          { name: 'mem', emptyDir: { medium: 'Memory' } },
          { name: 'disk', emptyDir: {} },
        ],
        initContainers: [
          sh('init', 'echo hello >/mem/from-init', { volumeMounts: [{ name: 'mem', mountPath: '/mem' }] }),
        ],
      },
      container: {
        volumeMounts: [
          { name: 'mem', mountPath: '/mem' },
          { name: 'disk', mountPath: '/disk' },
        ],
      },
    })
    assert.equal(output, '1777\n777\nhello\n1\n')
  })

  test('a mount can be read-only and have a subPath', async () => {
    const output = await outputOf(
      sandbox,
      'sub-path',
      'cat /sub/f; touch /sub/g 2>/dev/null || echo read-only',
      {
        spec: {
          volumes: [{ name: 'v', emptyDir: {} }],
          initContainers: [
            sh('init', 'mkdir /v/inner; echo inner >/v/inner/f', {
              volumeMounts: [{ name: 'v', mountPath: '/v' }],
            }),
          ],
        },
        container: { volumeMounts: [{ name: 'v', mountPath: '/sub', subPath: 'inner', readOnly: true }] },
      },
    )
    assert.equal(output, 'inner\nread-only\n')
  })

  test('hostPath shows the same files of the node, not of the machine, to two pods', async () => {
    const spec: Partial<PodSpec> = { volumes: [{ name: 'h', hostPath: { path: '/etc', type: 'Directory' } }] }
    const container = { volumeMounts: [{ name: 'h', mountPath: '/host' }] }
    assert.equal(
      await outputOf(sandbox, 'host-1', 'ls /host; echo kept >/host/note', { spec, container }),
      '',
    )
    assert.equal(await outputOf(sandbox, 'host-2', 'cat /host/note', { spec, container }), 'kept\n')
  })

  test("a pod on the host network is in the node's network and has its addresses", async () => {
    const key = await apply(
      sandbox,
      pod('host-network', {
        hostNetwork: true,
        containers: [sh('app', untilTerm('ip -br addr show eth0; hostname'))],
      }),
    )
    const found = await sandbox.pods.waitFor(key, isReady)
    assert.deepEqual(found?.status?.podIPs, [{ ip: '10.0.0.10' }, { ip: 'fd00:10::10' }])
    await sandbox.pods.waitForLog(key, 'app', new RegExp(`10\\.0\\.0\\.10/24[^]*^${sandbox.node.name}$`, 'm'))
  })

  test('the report of addresses in the status can be delayed', async () => {
    sandbox.node.holdAddresses()
    const key = await apply(sandbox, pod('held', { containers: [sh('app', untilTerm())] }))
    const held = await sandbox.pods.waitFor(key, (p) => p?.status?.phase === 'Running')
    assert.equal(held?.status?.podIP, undefined)
    assert.equal(held?.status?.podIPs, undefined)
    sandbox.node.releaseAddresses()
    await sandbox.pods.waitFor(key, (p) => p?.status?.podIPs?.length === 2)
  })
})
