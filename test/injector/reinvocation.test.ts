/** `reinvocationPolicy: IfNeeded`: the webhook gets the pod again, with what we added and what others changed. */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { buildComponent } from '../../build.ts'
import { KEYS } from '../../common/keys.ts'
import {
  applyPatch,
  type Dict,
  decide,
  decideFinal,
  namespace,
  opsOf,
  pod,
  settings,
  withApiServerDefaults,
} from './fixtures.ts'

type Spec = { initContainers: Dict[]; containers: Dict[]; volumes: Dict[] }
type Injected = { metadata: { annotations: Record<string, string> }; spec: Spec & Dict }

function injected(spec: Dict = {}, annotations: Record<string, string> = {}): Injected {
  const given = pod(spec, annotations)
  return withApiServerDefaults(
    applyPatch(given, opsOf(decide(given, namespace(), settings()))),
  ) as unknown as Injected
}

function named(spec: Spec, name: string): Dict {
  return spec.initContainers.find((one) => one.name === name) ?? assert.fail(`no ${name}`)
}

/** The decision of the second call about a pod that another webhook changed. */
function second(change: (pod: Injected) => void, start = injected()) {
  const before = structuredClone(start)
  change(before)
  const decision = decide(before, namespace(), settings())
  return { before, decision, ops: decision.kind === 'patch' ? decision.ops : [] }
}

/** The verdict of the validating webhook. */
function final(given: unknown, by = settings()) {
  return decideFinal(given, namespace(), by)
}

describe('reinvocation', () => {
  it('adds nothing to a pod that is complete', () => {
    assert.deepEqual(second(() => {}).ops, [])
  })

  it('restores a restartPolicy that another webhook removed, and changes nothing else', () => {
    const { before, ops } = second(({ spec }) => delete named(spec, 'pod2iam-sidecar').restartPolicy)
    assert.deepEqual(ops, [{ op: 'add', path: '/spec/initContainers/0/restartPolicy', value: 'Always' }])
    assert.deepEqual(applyPatch(before, ops), {
      ...before,
      spec: {
        ...before.spec,
        initContainers: [
          { ...before.spec.initContainers[0], restartPolicy: 'Always' },
          before.spec.initContainers[1],
        ],
      },
    })
  })

  it('restores parts of the securityContext, and keeps the defaults of the API server', () => {
    const { before, ops } = second(({ spec }) => {
      const context = named(spec, 'pod2iam-gate').securityContext as Dict
      context.capabilities = { drop: ['ALL'] }
      context.procMount = 'Default'
      delete context.runAsUser
    })
    assert.deepEqual(ops.map(({ op, path }) => `${op} ${path}`).sort(), [
      'add /spec/initContainers/1/securityContext/runAsUser',
      'replace /spec/initContainers/1/securityContext/capabilities',
    ])
    const after = applyPatch(before, ops)
    assert.equal((named(after.spec, 'pod2iam-gate').securityContext as Dict).procMount, 'Default')
  })

  it('restores a securityContext that another webhook removed', () => {
    const { ops } = second(({ spec }) => delete named(spec, 'pod2iam-gate').securityContext)
    assert.deepEqual(
      ops.map(({ op, path }) => [op, path]),
      [['add', '/spec/initContainers/1/securityContext']],
    )
  })

  it('removes a capability that another webhook added to the sidecar', () => {
    const { ops } = second(({ spec }) => {
      ;(named(spec, 'pod2iam-sidecar').securityContext as Dict).capabilities = {
        drop: ['ALL'],
        add: ['SYS_ADMIN'],
      }
    })
    assert.deepEqual(ops, [
      {
        op: 'replace',
        path: '/spec/initContainers/0/securityContext/capabilities',
        value: { drop: ['ALL'] },
      },
    ])
  })

  for (const name of ['pod2iam-sidecar', 'pod2iam-gate'])
    it(`restores ${name} in its place`, () => {
      const start = injected({ initContainers: [{ name: 'istio-init' }, { name: 'migrate' }] })
      const { before, ops } = second(({ spec }) => {
        spec.initContainers = spec.initContainers.filter((one) => one.name !== name)
      }, start)
      assert.deepEqual(
        applyPatch(before, ops).spec.initContainers.map((one) => one.name),
        ['istio-init', 'pod2iam-sidecar', 'pod2iam-gate', 'migrate'],
      )
    })

  it('restores volumes, mounts and the status', () => {
    const { before, ops } = second(({ spec, metadata }) => {
      spec.volumes = spec.volumes.filter(({ name }) => !String(name).startsWith('pod2iam-'))
      const sidecar = named(spec, 'pod2iam-sidecar')
      sidecar.volumeMounts = (sidecar.volumeMounts as Dict[]).filter(({ name }) => name !== 'pod2iam-token')
      metadata.annotations[KEYS.status] = 'forged'
    })
    const third = decide(applyPatch(before, ops), namespace(), settings())
    assert.equal(third.reason, 'already-injected')
    assert.ok(ops.some(({ path }) => path === '/metadata/annotations/pod2iam.dev~1status'))
    assert.ok(
      ops.every(({ op, path }) => op === 'add' && /volume|status/.test(path)),
      JSON.stringify(ops),
    )
  })

  it('adds the endpoint of mode env to containers that were added after the first pass', () => {
    const start = injected({}, { [KEYS.redirect]: 'env' })
    const { ops } = second(({ spec }) => {
      spec.containers.push({ name: 'late', image: 'late' })
      spec.initContainers.push({ name: 'late-init', image: 'late' })
    }, start)
    assert.deepEqual(
      ops.map(({ path }) => path),
      ['/spec/containers/1/env', '/spec/initContainers/1/env'],
    )
    const twoStages = settings({ start: 'two-stage' })
    const behindGate = decide(applyPatch(start, []), namespace(), twoStages)
    const late = applyPatch(start, opsOf(behindGate))
    late.spec.initContainers.push({ name: 'late-init', image: 'late' })
    assert.deepEqual(
      opsOf(decide(late, namespace(), twoStages)).map(({ path }) => path),
      ['/spec/initContainers/2/env'],
    )
  })

  it('accepts a pod that was injected for metadata only, or by its namespace’s label all', () => {
    for (const [annotations, where] of [
      [{ [KEYS.inject]: 'metadata' }, namespace()],
      [{}, namespace({ labels: { [KEYS.injection]: 'all' } })],
    ] as const) {
      const given = pod({}, annotations)
      const once = applyPatch(given, opsOf(decide(given, where, settings())))
      assert.equal(decide(withApiServerDefaults(once), where, settings()).reason, 'already-injected')
    }
  })

  for (const [what, image] of [
    ['a digest after the tag', 'ghcr.io/pod2iam/sidecar:0.1.0@sha256:aa'],
    ['a digest instead of the tag', 'ghcr.io/pod2iam/sidecar@sha256:aa'],
  ] as const)
    it(`accepts ${what} in our image`, () => {
      const { decision } = second(({ spec }) => (named(spec, 'pod2iam-sidecar').image = image))
      assert.deepEqual(opsOf(decision), [])
    })

  it('accepts a mirror of our image where --sidecar-image names it', () => {
    const mirrored = settings({ sidecarImage: 'mirror.example.com:5000/ghcr/pod2iam/sidecar:0.1.0' })
    const once = applyPatch(pod(), opsOf(decide(pod(), namespace(), mirrored)))
    assert.equal(decide(once, namespace(), mirrored).reason, 'already-injected')
    assert.equal(decide(once, namespace(), settings()).reason, 'reserved-container')
  })

  it('updates a sidecar of another release, as in a copied manifest, to this one', () => {
    const { ops } = second(({ spec }) => {
      named(spec, 'pod2iam-sidecar').image = 'ghcr.io/pod2iam/sidecar:0.0.9'
    })
    assert.deepEqual(ops, [
      { op: 'replace', path: '/spec/initContainers/0/image', value: 'ghcr.io/pod2iam/sidecar:0.1.0' },
    ])
  })

  it('keeps what others may change in our containers', () => {
    const { decision } = second(({ spec }) => {
      const sidecar = named(spec, 'pod2iam-sidecar')
      sidecar.resizePolicy = [{ resourceName: 'cpu', restartPolicy: 'NotRequired' }]
      sidecar.ports = []
      sidecar.stdin = false
      sidecar.lifecycle = {}
      sidecar.imagePullPolicy = 'Always'
      sidecar.resources = { requests: { cpu: '11m', memory: '30Mi' }, limits: { cpu: '1', memory: '60Mi' } }
    })
    assert.deepEqual(opsOf(decision), [])
  })

  it('keeps what AWS’s own webhook adds to every container', () => {
    const { decision } = second(({ spec }) => {
      for (const name of ['pod2iam-sidecar', 'pod2iam-gate']) {
        const { env, volumeMounts } = named(spec, name) as { env: Dict[]; volumeMounts: Dict[] }
        env.push({ name: 'AWS_REGION', value: 'eu-west-1' }, { name: 'DD_AGENT_HOST', value: 'x' })
        env.push({ name: 'AWS_ROLE_ARN', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } })
        volumeMounts.push({
          name: 'aws-iam-token',
          mountPath: '/var/run/secrets/eks.amazonaws.com/serviceaccount',
          readOnly: true,
        })
      }
    })
    assert.deepEqual(opsOf(decision), [])
  })

  it('tolerates no variable that the programs of our containers read', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'pod2iam-bundles-'))
    try {
      for (const component of ['sidecar', 'firewall'] as const) {
        const bundle = join(directory, `${component}.cjs`)
        await buildComponent(component, bundle)
        assert.doesNotMatch(
          await readFile(bundle, 'utf8'),
          /\b(?:AWS|AZURE|GOOGLE|CLOUDSDK|DD|OTEL|ISTIO|LINKERD|VAULT|DAPR|ELASTIC_APM|NEW_RELIC|CORECLR|DOTNET)_[A-Z]|\b(?:HTTPS?|NO|ALL|FTP)_PROXY|_(?:proxy|OPTIONS)\b|JAVA_OPTS|PYTHONPATH/,
          component,
        )
      }
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  })

  for (const index of [0, 1])
    it(`moves our containers before an init container that was inserted at ${index}, and after a mesh’s`, () => {
      for (const leading of [[], [{ name: 'istio-init', image: 'i' }]]) {
        const { before, ops } = second(({ spec }) => {
          spec.initContainers.splice(index, 0, { name: 'early', image: 'early' })
          spec.initContainers.unshift(...structuredClone(leading))
        })
        const after = applyPatch(before, ops)
        assert.deepEqual(
          after.spec.initContainers.map(({ name }) => name),
          [...leading.map(({ name }) => name), 'pod2iam-sidecar', 'pod2iam-gate', 'early'],
        )
        assert.deepEqual(named(after.spec, 'pod2iam-sidecar'), named(before.spec, 'pod2iam-sidecar'))
        assert.equal(decide(after, namespace(), settings()).reason, 'already-injected')
      }
    })

  it('admits a pod with a warning where another webhook has the last word about the order', () => {
    const { before } = second(({ spec }) =>
      spec.initContainers.unshift({ name: 'restore-wait', image: 'velero' }),
    )
    const decision = final(before)
    assert.equal(decision.reason, 'already-injected')
    assert.deepEqual('warnings' in decision && decision.warnings, [
      'init container "restore-wait" starts before pod2iam-sidecar and pod2iam-gate, so it has no credentials: another webhook put it there after the injector',
    ])
  })

  it('removes the endpoint of mode env where the mode is nft now', () => {
    const start = injected({ initContainers: [{ name: 'migrate' }] }, { [KEYS.redirect]: 'env' })
    const endpoint = { name: 'AWS_EC2_METADATA_SERVICE_ENDPOINT', value: 'http://127.0.0.1:9169/' }
    assert.deepEqual(start.spec.containers[0]?.env, [endpoint])
    const { before, ops } = second(({ metadata, spec }) => {
      delete metadata.annotations[KEYS.redirect]
      spec.containers[0] = {
        ...spec.containers[0],
        env: [{ name: 'A', value: '1' }, endpoint, { ...endpoint }],
      }
      spec.containers.push({ name: 'own', env: [{ ...endpoint, value: 'http://169.254.169.254/' }] })
    }, start)
    const { spec } = applyPatch(before, ops)
    assert.deepEqual(
      [...spec.containers, ...spec.initContainers].map(({ env }) =>
        (env as Dict[] | undefined)?.filter(({ name }) => !/^POD2IAM/.test(String(name))),
      ),
      [[{ name: 'A', value: '1' }], [{ ...endpoint, value: 'http://169.254.169.254/' }], [], [], []],
    )
    assert.equal(decide(applyPatch(before, ops), namespace(), settings()).reason, 'already-injected')
  })

  it('accepts the containers of a mesh that were put before ours', () => {
    const { decision } = second(({ spec }) =>
      spec.initContainers.unshift({ name: 'istio-init', image: 'i' }, { name: 'istio-proxy', image: 'i' }),
    )
    assert.deepEqual(opsOf(decision), [])
  })
})

describe('foreign content under our names', () => {
  const sidecar = (spec: Spec) => named(spec, 'pod2iam-sidecar')
  const rows: readonly [what: string, says: RegExp, change: (spec: Spec & Dict) => unknown][] = [
    ['another image', /image "evil"/, (spec) => (sidecar(spec).image = 'evil')],
    [
      'an image whose name ends like ours',
      /image/,
      (spec) => (sidecar(spec).image = 'ghcr.io/xpod2iam/sidecar:0.1.0'),
    ],
    [
      'the same path in another registry',
      /image "evil\.example\.com/,
      (spec) => (sidecar(spec).image = 'evil.example.com/pod2iam/sidecar:0.1.0'),
    ],
    [
      'a path that ends like ours',
      /image "evil\.example\.com/,
      (spec) => (sidecar(spec).image = 'evil.example.com/ghcr.io/pod2iam/sidecar:0.1.0'),
    ],
    ['our path without its registry', /image/, (spec) => (sidecar(spec).image = 'pod2iam/sidecar:0.1.0')],
    ...(
      [
        ['envFrom', [{ secretRef: { name: 'x' } }]],
        ['ports', [{ containerPort: 8080 }]],
        ['workingDir', '/tmp'],
        ['stdin', true],
        ['tty', true],
        ['readinessProbe', { tcpSocket: { port: 9170 } }],
        ['volumeDevices', [{ name: 'x', devicePath: '/dev/x' }]],
        ['restartPolicyRules', [{ action: 'Restart' }]],
        ['futureField', 1],
      ] as const
    ).map(([field, value]): [string, RegExp, (spec: Spec) => unknown] => [
      `field ${field}`,
      new RegExp(`\\("${field}"\\)`),
      (spec) => (sidecar(spec)[field] = value),
    ]),
    ['a command', /command/, (spec) => (sidecar(spec).command = ['sh'])],
    [
      'a postStart hook',
      /lifecycle/,
      (spec) => (sidecar(spec).lifecycle = { postStart: { exec: { command: ['sh'] } } }),
    ],
    [
      'a startupProbe',
      /startupProbe/,
      (spec) => (sidecar(spec).startupProbe = { tcpSocket: { port: 9170 } }),
    ],
    ['arguments', /args/, (spec) => (sidecar(spec).args = ['--x'])],
    ['other arguments of the gate', /args/, (spec) => (named(spec, 'pod2iam-gate').args = ['status'])],
    [
      'a gate that restarts',
      /restartPolicy/,
      (spec) => (named(spec, 'pod2iam-gate').restartPolicy = 'Always'),
    ],
    ['two sidecars', /twice/, (spec) => spec.initContainers.push(structuredClone(sidecar(spec)))],
    [
      'a sidecar among the containers',
      /among the pod's containers/,
      (spec) => spec.containers.push({ name: 'pod2iam-sidecar', image: 'x' }),
    ],
    [
      'another audience',
      /volume pod2iam-token/,
      (spec) =>
        (volume(spec, 'pod2iam-token').projected = {
          sources: [
            {
              serviceAccountToken: { audience: 'sts.amazonaws.com', expirationSeconds: 3600, path: 'token' },
            },
          ],
        }),
    ],
    [
      'a second source in the token volume',
      /volume pod2iam-token/,
      (spec) =>
        (volume(spec, 'pod2iam-token').projected as { sources: Dict[] }).sources.push({
          secret: { name: 'x' },
        }),
    ],
    [
      'a mode that hides the token',
      /volume pod2iam-token/,
      (spec) => ((volume(spec, 'pod2iam-token').projected as Dict).defaultMode = 0o400),
    ],
    [
      'a host directory as state',
      /volume pod2iam-state/,
      (spec) => {
        delete volume(spec, 'pod2iam-state').emptyDir
        volume(spec, 'pod2iam-state').hostPath = { path: '/' }
      },
    ],
    [
      'an app that mounts the token',
      /container "app" mounts volume pod2iam-token/,
      (spec) =>
        (spec.containers[0] as { volumeMounts: Dict[] }).volumeMounts.push({
          name: 'pod2iam-token',
          mountPath: '/t',
        }),
    ],
    [
      'an app that mounts the state',
      /container "app" mounts volume pod2iam-state/,
      (spec) =>
        (spec.containers[0] as { volumeMounts: Dict[] }).volumeMounts.push({
          name: 'pod2iam-state',
          mountPath: '/t',
        }),
    ],
  ]
  for (const [what, says, alter] of rows)
    it(`${what} is denied with a sentence that names it`, () => {
      const { decision } = second(({ spec }) => alter(spec))
      assert.equal(decision.kind, 'deny')
      assert.match(decision.kind === 'deny' ? decision.sentence : '', says)
      assert.match(decision.reason, /^reserved-/)
    })
})

describe('foreign content in our containers', () => {
  const sidecar = (spec: Spec) => named(spec, 'pod2iam-sidecar')
  const env = (spec: Spec) => sidecar(spec).env as Dict[]
  const rows: readonly [what: string, says: RegExp, change: (spec: Spec & Dict) => unknown][] = [
    [
      'a foreign variable',
      /env "NODE_OPTIONS"/,
      (spec) => env(spec).push({ name: 'NODE_OPTIONS', value: '--require=/t/x.js' }),
    ],
    [
      'a foreign variable in the gate',
      /env "LD_PRELOAD"/,
      (spec) => (named(spec, 'pod2iam-gate').env as Dict[]).push({ name: 'LD_PRELOAD', value: '/t/x.so' }),
    ],
    [
      'a mount of another volume',
      /volumeMounts "\/app"/,
      (spec) => (sidecar(spec).volumeMounts as Dict[]).push({ name: 'code', mountPath: '/app' }),
    ],
    [
      'a mount in the gate with the name of the service account’s volume at another path',
      /volumeMounts "\/app"/,
      (spec) =>
        (named(spec, 'pod2iam-gate').volumeMounts as Dict[]).push({
          name: 'kube-api-access-x7k2p',
          mountPath: '/app',
          readOnly: true,
        }),
    ],
    [
      'a variable that only looks harmless',
      /env "AWS_x"/,
      (spec) => env(spec).push({ name: 'AWS_x', value: '1' }),
    ],
    [
      'a subPath of our volume at its path',
      /volumeMounts/,
      (spec) => change(sidecar(spec).volumeMounts as Dict[], 'pod2iam-token', 'x', 'subPath'),
    ],
    [
      'a key in the securityContext that we do not set',
      /securityContext "seLinuxOptions"/,
      (spec) => ((sidecar(spec).securityContext as Dict).seLinuxOptions = { type: 'spc_t' }),
    ],
    [
      'a termination message over a file of the image',
      /terminationMessagePath/,
      (spec) => (sidecar(spec).terminationMessagePath = '/sidecar.js'),
    ],
    [
      'another role in the env',
      /the identity in the environment/,
      (spec) => change(env(spec), 'POD2IAM_ROLE', 'arn:aws:iam::111111111111:role/shop-other'),
    ],
    [
      'a second role in the env',
      /env POD2IAM_ROLE is there twice/,
      (spec) => env(spec).push({ name: 'POD2IAM_ROLE', value: 'x' }),
    ],
    [
      'an external id that the pod did not ask for',
      /the identity in the environment/,
      (spec) => env(spec).push({ name: 'POD2IAM_EXTERNAL_ID', value: 'xx' }),
    ],
    [
      'another broker',
      /env POD2IAM_BROKER_URL/,
      (spec) => change(env(spec), 'POD2IAM_BROKER_URL', 'http://evil/'),
    ],
    [
      'another volume at the token’s path',
      /volumeMounts/,
      (spec) => change(sidecar(spec).volumeMounts as Dict[], 'pod2iam-token', 'other', 'name'),
    ],
    ...(
      [
        ['over our token', { mountPath: '/var/run/secrets/pod2iam', readOnly: true }],
        ['below our token', { mountPath: '/var/run/secrets/pod2iam/token', readOnly: true }],
        [
          'over our second token',
          { mountPath: '/var/run/secrets/pod2iam-web-identity/token', readOnly: true },
        ],
        ['over our secret', { mountPath: '/var/run/secrets/pod2iam-container/token', readOnly: true }],
        [
          'where a token of the API server would be',
          { mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', readOnly: true },
        ],
        ['over all secrets', { mountPath: '/var/run/secrets', readOnly: true }],
        ['out of the secrets', { mountPath: '/var/run/secrets/x/../../../app', readOnly: true }],
        ['that can be written', { mountPath: '/var/run/secrets/x' }],
        [
          'of our token elsewhere',
          { name: 'pod2iam-token', mountPath: '/var/run/secrets/x', readOnly: true },
        ],
        [
          'that propagates',
          { mountPath: '/var/run/secrets/x', readOnly: true, mountPropagation: 'HostToContainer' },
        ],
      ] as const
    ).map(([where, mount]): [string, RegExp, (spec: Spec) => unknown] => [
      `a mount ${where}`,
      /volumeMounts/,
      (spec) => (named(spec, 'pod2iam-gate').volumeMounts as Dict[]).push({ name: 'foreign', ...mount }),
    ]),
    ['a gate before the sidecar', /comes before/, (spec) => spec.initContainers.reverse()],
  ]
  for (const [what, says, alter] of rows) {
    it(`${what} is corrected`, () => {
      const start = injected()
      const { before, ops } = second(({ spec }) => alter(spec), start)
      const after = applyPatch(before, ops)
      assert.deepEqual(after.spec.initContainers.map(sorted), start.spec.initContainers.map(sorted))
      assert.equal(final(after).reason, 'already-injected')
    })

    it(`${what} is refused with a sentence that names it, where another webhook has the last word`, () => {
      const decision = final(second(({ spec }) => alter(spec)).before)
      assert.equal(decision.reason, 'not-injected')
      assert.match(decision.kind === 'deny' ? decision.sentence : '', says)
    })
  }

  it('is removed with a warning, but a variable of a later release without one', () => {
    const { decision } = second(({ spec }) => {
      env(spec).push({ name: 'NODE_OPTIONS', value: '--x' }, { name: 'POD2IAM_LATER', value: '1' })
      ;(sidecar(spec).volumeMounts as Dict[]).push({ name: 'x', mountPath: '/x' })
    })
    assert.deepEqual('warnings' in decision && decision.warnings, [
      'env NODE_OPTIONS, mount /x of another tool was removed from pod2iam-sidecar, which must run unchanged',
    ])
  })

  it('is replaced in a copied manifest with another role, whose annotation now counts', () => {
    const copied = injected()
    copied.metadata.annotations[KEYS.role] = 'arn:aws:iam::111111111111:role/shop-other'
    assert.match(JSON.stringify(final(copied)), /identity in the environment of pod2iam-sidecar/)
    const { spec } = applyPatch(copied, opsOf(decide(copied, namespace(), settings())))
    assert.deepEqual(
      (named(spec, 'pod2iam-sidecar').env as Dict[]).find(({ name }) => name === 'POD2IAM_ROLE')?.value,
      'arn:aws:iam::111111111111:role/shop-other',
    )
  })
})

/** The order of mounts is irrelevant. */
function sorted(container: Dict): Dict {
  const mounts = container.volumeMounts as { mountPath: string }[]
  return { ...container, volumeMounts: mounts.toSorted((a, b) => a.mountPath.localeCompare(b.mountPath)) }
}

function change(list: Dict[], name: string, to: string, field = 'value'): void {
  const entry = list.find((one) => one.name === name) ?? assert.fail(`no ${name}`)
  entry[field] = to
}

function volume(spec: Spec, name: string): Dict {
  return spec.volumes.find((one) => one.name === name) ?? assert.fail(`no ${name}`)
}
