import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { container, containerStatus, createSandbox, needsNamespaces, type Sandbox } from '../index.ts'
import type { PodSecurityContext, SecurityContext } from './pod.ts'
import { apply, IMAGES, outputOf, pod, sh } from './test-pods.ts'

/** CAP_NET_ADMIN is number 12; docker's default set is a80425fb. */
const NET_ADMIN = '0000000000001000'
const DEFAULT = '00000000a80425fb'
const NONE = '0000000000000000'

const IDENTITY = `id -u; id -g; echo $(id -G); grep -E 'Cap(Prm|Eff|Bnd)|NoNewPrivs' /proc/self/status | tr '\\n' ' '`

describe('securityContext', needsNamespaces('root'), () => {
  let sandbox: Sandbox
  before(async () => {
    sandbox = await createSandbox({ images: { ...IMAGES } })
  })
  after(() => sandbox?.close())

  let serial = 0
  const identity = async (securityContext: SecurityContext, ofPod: PodSecurityContext = {}) => {
    const output = await outputOf(sandbox, `security-${++serial}`, IDENTITY, {
      container: { securityContext },
      spec: { securityContext: ofPod },
    })
    const [uid, gid, groups, status = ''] = output.split('\n')
    const field = (name: string) => new RegExp(`${name}:\\s*(\\w+)`).exec(status)?.[1]
    const [effective, bounding, noNewPrivs] = ['CapEff', 'CapBnd', 'NoNewPrivs'].map(field)
    return { uid, gid, groups, effective, bounding, noNewPrivs }
  }

  const rows: [string, SecurityContext, PodSecurityContext, Partial<Awaited<ReturnType<typeof identity>>>][] =
    [
      [
        'without settings a container runs as root with the default capabilities',
        {},
        {},
        { uid: '0', effective: DEFAULT, bounding: DEFAULT, noNewPrivs: '0' },
      ],
      [
        "with the pod's user a container has no effective capability",
        {},
        { runAsUser: 1000, runAsGroup: 2000 },
        { uid: '1000', gid: '2000', effective: NONE },
      ],
      [
        "the container's user takes precedence",
        { runAsUser: 65532 },
        { runAsUser: 1000 },
        { uid: '65532', gid: '0' },
      ],
      [
        'fsGroup and supplementalGroups are groups of the process',
        { runAsUser: 7 },
        { fsGroup: 3000, supplementalGroups: [4000] },
        { groups: '0 3000 4000' },
      ],
      [
        'drop ALL removes all capabilities',
        { capabilities: { drop: ['ALL'] } },
        {},
        { effective: NONE, bounding: NONE },
      ],
      [
        'drop ALL with add NET_ADMIN leaves only NET_ADMIN',
        { capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } },
        {},
        { effective: NET_ADMIN, bounding: NET_ADMIN },
      ],
      [
        'a capability added for a user who is not root is not effective',
        { runAsUser: 65532, capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } },
        {},
        { effective: NONE, bounding: NET_ADMIN },
      ],
      [
        'allowPrivilegeEscalation false sets no_new_privs',
        { allowPrivilegeEscalation: false },
        {},
        { noNewPrivs: '1' },
      ],
    ]
  for (const [name, securityContext, ofPod, expected] of rows)
    test(name, async () => {
      const found = await identity(securityContext, ofPod)
      assert.deepEqual({ ...found, ...expected }, found)
    })

  test('a privileged container has every capability of the machine', async () => {
    const { bounding } = await identity({ privileged: true })
    const { stdout } = await sandbox.exec('node', ['grep', 'CapBnd', '/proc/self/status'])
    assert.match(stdout, new RegExp(`${bounding}`))
  })

  test('exec runs with the identity of the container', async () => {
    const spec = {
      containers: [
        sh('app', 'exec sleep 1000', {
          securityContext: { runAsUser: 65532, capabilities: { drop: ['ALL'] } },
        }),
      ],
    }
    const key = await apply(sandbox, pod('exec', spec))
    await sandbox.pods.waitFor(
      key,
      container('app', ({ ready }) => ready),
    )
    const { stdout } = await sandbox.pods.exec(key, [
      'sh',
      '-c',
      'id -u; grep CapBnd /proc/self/status; echo $$ $HOSTNAME',
    ])
    assert.match(stdout, new RegExp(`^65532\nCapBnd:\t${NONE}\n\\d+ exec\n$`))
  })

  for (const [name, securityContext, message] of [
    ["the image's user", { runAsNonRoot: true }, 'container has runAsNonRoot and image will run as root'],
    ['runAsUser 0', { runAsNonRoot: true, runAsUser: 0 }, "container's runAsUser breaks non-root policy"],
  ] as const)
    test(`runAsNonRoot refuses root by ${name}`, async () => {
      const key = await apply(
        sandbox,
        pod(`non-root-${++serial}`, { containers: [sh('app', 'true', { securityContext })] }),
      )
      const found = await sandbox.pods.waitFor(
        key,
        container('app', ({ state }) => 'waiting' in state && state.waiting.reason !== 'ContainerCreating'),
      )
      assert.deepEqual(containerStatus(found, 'app')?.state, {
        waiting: { reason: 'CreateContainerConfigError', message },
      })
    })

  test('runAsNonRoot allows an image with a user', async () => {
    sandbox.node.images.distroless = { command: ['/bin/sh', '-c'], user: 65532 }
    const output = await outputOf(sandbox, 'distroless', 'id -u', {
      container: { image: 'distroless', securityContext: { runAsNonRoot: true } },
    })
    assert.equal(output, '65532\n')
  })
})

describe('the root file system of a container', needsNamespaces(), () => {
  let sandbox: Sandbox
  before(async () => {
    sandbox = await createSandbox({ images: { ...IMAGES } })
  })
  after(() => sandbox?.close())

  test('is writable, except what belongs to the machine', async () => {
    const script =
      'echo x >/file && echo x >/etc/file && echo x >/tmp/file && ls / && touch /usr/file 2>&1; true'
    const output = await outputOf(sandbox, 'writable', script)
    assert.match(output, /^file$/m)
    assert.match(output, /Read-only file system/)
  })

  test('is read-only with readOnlyRootFilesystem, except volumes and /dev/shm', async () => {
    const script = `for d in / /tmp /etc /run /var/log; do touch $d/x 2>/dev/null && echo "$d is writable"; done
touch /data/x /dev/shm/x && echo >/dev/null && echo fine`
    const output = await outputOf(sandbox, 'read-only', script, {
      container: {
        securityContext: { readOnlyRootFilesystem: true },
        volumeMounts: [{ name: 'data', mountPath: '/data' }],
      },
      spec: { volumes: [{ name: 'data', emptyDir: {} }] },
    })
    assert.equal(output, 'fine\n')
  })

  test('shows nothing of the machine except its programs and the checkout', async () => {
    const script =
      'ls -A / /tmp /run /home /root /var/tmp; ls /dev; cat /proc/1/cmdline | tr "\\0" " "; ls /proc | grep -c "^[0-9]"'
    const output = await outputOf(sandbox, 'hidden', script)
    assert.doesNotMatch(output, /sandbox|netns|systemd|vda|sda|\.old/)
    assert.match(output, /^\/bin\/sh -c/m)
  })

  test('is not shared by the containers of a pod, but the network is', async () => {
    const key = await apply(
      sandbox,
      pod('two', {
        containers: [sh('a', 'touch /mine; echo made; exec sleep 1000'), sh('b', 'exec sleep 1000')],
      }),
    )
    await sandbox.pods.waitForLog(key, 'a', /made/)
    await sandbox.pods.waitFor(
      key,
      container('b', ({ ready }) => ready),
    )
    const look = ['sh', '-c', 'ls / | grep -c mine; readlink /proc/self/ns/net; hostname']
    const [a, b] = await Promise.all(
      ['a', 'b'].map((name) => sandbox.pods.exec(key, look, { container: name })),
    )
    assert.equal(a?.stdout, b?.stdout.replace(/^0/, '1'))
    assert.match(a?.stdout ?? '', /\ntwo\n$/)
  })
})
