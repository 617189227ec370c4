import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { IDENTITY_ENV } from '../../common/identity.ts'
import { KEYS } from '../../common/keys.ts'
import { parseSettings } from '../../common/settings.ts'
import type { Decision } from '../../injector/admission/decide.ts'
import { GATE_SETTINGS } from '../../node-guard/firewall/gate/settings.ts'
import { SPEC as SIDECAR_SETTINGS } from '../../sidecar/settings.ts'
import { applyPatch, type Dict, decide, namespace, opsOf, pod, ROLE, settings } from './fixtures.ts'

const ALL = namespace({ name: 'jobs', labels: { [KEYS.injection]: 'all' }, annotations: {} })
const UNANNOTATED = { [KEYS.role]: undefined }
const container = (extra: Dict): Dict => ({ containers: [{ name: 'app', image: 'orders', ...extra }] })

describe('redirect mode', () => {
  const POD_SECURITY = 'pod-security.kubernetes.io/enforce'
  const rows: readonly [
    pod: string | undefined,
    namespaceSays: string | undefined,
    level: string | undefined,
    flag: 'nft' | 'env',
    expected: string,
  ][] = [
    [undefined, undefined, undefined, 'nft', 'nft'],
    [undefined, undefined, undefined, 'env', 'env'],
    [undefined, undefined, 'privileged', 'nft', 'nft'],
    [undefined, undefined, 'baseline', 'nft', 'env'],
    [undefined, undefined, 'restricted', 'nft', 'env'],
    [undefined, 'nft', 'restricted', 'env', 'nft'],
    [undefined, 'env', undefined, 'nft', 'env'],
    ['nft', 'env', 'restricted', 'env', 'nft'],
    ['env', 'nft', undefined, 'nft', 'env'],
  ]
  for (const [ofPod, ofNamespace, level, redirect, expected] of rows)
    it(`pod ${ofPod ?? '-'}, namespace ${ofNamespace ?? '-'}, PodSecurity ${level ?? '-'}, flag ${redirect} → ${expected}`, () => {
      const where = namespace({
        labels: { [KEYS.injection]: 'enabled', ...(level ? { [POD_SECURITY]: level } : {}) },
        annotations: { ...namespace().annotations, ...(ofNamespace ? { [KEYS.redirect]: ofNamespace } : {}) },
      })
      const given = pod({}, { [KEYS.redirect]: ofPod })
      const decision = decide(given, where, settings({ redirect, start: 'two-stage' }))
      const { sidecar, gate } = injected(given, decision)
      assert.equal(decision.kind === 'patch' && decision.redirect, expected)
      assert.equal(sidecar.env.get('POD2IAM_SELF_TEST'), expected === 'nft' ? 'redirect' : 'off')
      assert.ok((gate.args as string[]).includes(`--redirect=${expected}`))
      const { capabilities, runAsUser } = gate.securityContext as { capabilities: Dict; runAsUser: number }
      assert.deepEqual(
        capabilities,
        expected === 'nft' ? { drop: ['ALL'], add: ['NET_ADMIN'] } : { drop: ['ALL'] },
      )
      assert.equal(runAsUser, expected === 'nft' ? 0 : 65532)
    })
})

describe('the added containers', () => {
  it('have the identity in the env of the sidecar only', () => {
    const given = pod({}, { [KEYS.externalId]: 'partner-7', [KEYS.sessionName]: 'nightly' })
    const { sidecar, gate } = injected(given, decide(given, namespace(), settings()))
    assert.equal(sidecar.env.get(IDENTITY_ENV.source), 'annotation')
    assert.equal(sidecar.env.get(IDENTITY_ENV.role), ROLE)
    assert.equal(sidecar.env.get(IDENTITY_ENV.externalId), 'partner-7')
    assert.equal(sidecar.env.get(IDENTITY_ENV.sessionName), 'nightly')
    assert.deepEqual([...gate.env.keys()], ['POD2IAM_RESTART_POLICY'])
  })

  it('leave the role to the broker where the pod has the default one', () => {
    const where = {
      ...ALL,
      annotations: { [KEYS.defaultRole]: ROLE, [KEYS.allowedRoles]: '["*","arn:aws:iam::*"]' },
    }
    const given = pod({}, UNANNOTATED)
    const { sidecar } = injected(given, decide(given, where, settings()))
    assert.equal(sidecar.env.get(IDENTITY_ENV.source), 'default')
    assert.equal(sidecar.env.has(IDENTITY_ENV.role), false)
  })

  it('follow the annotations within the operator’s bounds', () => {
    const given = pod(
      {},
      {
        [KEYS.imdsTokens]: 'required',
        [KEYS.startupGate]: 'off',
        [KEYS.logLevel]: 'debug',
        [KEYS.sidecarResources]: '{"requests":{"cpu":"20m"},"limits":{"memory":"96Mi"}}',
      },
    )
    const { sidecar } = injected(given, decide(given, namespace(), settings()))
    assert.equal(sidecar.env.get('POD2IAM_IMDS_TOKENS'), 'required')
    assert.equal(sidecar.env.get('POD2IAM_STARTUP_GATE'), 'off')
    assert.equal(sidecar.env.get('POD2IAM_LOG_LEVEL'), 'debug')
    assert.deepEqual(sidecar.resources, {
      requests: { cpu: '20m', memory: '16Mi' },
      limits: { cpu: '500m', memory: '96Mi' },
    })
  })

  it('require IMDSv2 when the operator requires it', () => {
    const given = pod({}, { [KEYS.imdsTokens]: 'optional' })
    const { sidecar } = injected(given, decide(given, namespace(), settings({ imdsTokens: 'required' })))
    assert.equal(sidecar.env.get('POD2IAM_IMDS_TOKENS'), 'required')
  })

  for (const restartPolicy of ['Always', 'OnFailure', 'Never', undefined])
    it(`have restartPolicy ${restartPolicy ?? 'Always, the default,'} in the env of the gate`, () => {
      const given = pod({ restartPolicy })
      const { gate } = injected(given, decide(given, namespace(), settings()))
      assert.equal(gate.env.get('POD2IAM_RESTART_POLICY'), restartPolicy ?? 'Always')
    })

  it('keep a Guaranteed pod Guaranteed', () => {
    const given = pod(
      container({
        resources: { limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '1000m', memory: '1024Mi' } },
      }),
    )
    const { sidecar, gate } = injected(given, decide(given, namespace(), settings()))
    for (const { resources } of [sidecar, gate] as unknown as {
      resources: { requests: Dict; limits: Dict }
    }[])
      assert.deepEqual(resources.requests, resources.limits)
  })

  for (const [resources, cpu] of [
    [undefined, '5m'],
    [{}, '5m'],
    [{ limits: { cpu: '1' } }, '10m'],
    [{ limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '1m' } }, '5m'],
  ] as const)
    it(`do not reserve their limits in a pod with ${JSON.stringify(resources)}`, () => {
      const given = pod(container({ resources }))
      const { sidecar } = injected(given, decide(given, namespace(), settings()))
      assert.deepEqual((sidecar.resources as Dict).requests, { cpu, memory: '16Mi' })
    })

  it('are the only ones that mount the token and the state', () => {
    const given = pod()
    const patched = JSON.stringify(
      (applyPatch(given, opsOf(decide(given, namespace(), settings()))) as Dict).spec,
    )
    assert.equal(patched.match(/"name":"pod2iam-token"/g)?.length, 2, 'the volume and one mount')
    assert.equal(patched.match(/"name":"pod2iam-state"/g)?.length, 2)
  })

  it('pass --accept-drop only when the operator says so', () => {
    const args = (gateAcceptDrop: boolean) =>
      injected(pod(), decide(pod(), namespace(), settings({ gateAcceptDrop }))).gate.args as string[]
    assert.equal(args(true).includes('--accept-drop'), true)
    assert.equal(args(false).includes('--accept-drop'), false)
  })
})

describe('the injected settings are read by the programs without an error', () => {
  /** What the kubelet adds for Services of the pod's namespace with unlucky names (`enableServiceLinks`). */
  const SERVICE_LINKS = Object.fromEntries(
    ['BROKER', 'SIDECAR', 'HEALTH', 'LISTEN'].map((name) => [`POD2IAM_${name}_PORT`, 'tcp://10.0.0.1:80']),
  )
  for (const redirect of ['nft', 'env'] as const)
    for (const restartPolicy of ['Always', 'Never'])
      it(`in redirect mode ${redirect} under restartPolicy ${restartPolicy}`, () => {
        const given = pod({ restartPolicy }, { [KEYS.redirect]: redirect })
        const decision = decide(given, namespace(), settings({ gateAcceptDrop: true, start: 'two-stage' }))
        const { sidecar, gate } = injected(given, decision)

        const [command, ...argv] = gate.args as string[]
        assert.equal(command, 'redirect')
        const ofGate = parseSettings(GATE_SETTINGS, {
          argv,
          env: { ...SERVICE_LINKS, ...Object.fromEntries(gate.env) },
        })
        assert.ok(ofGate.ok, JSON.stringify(ofGate))
        assert.deepEqual(
          [ofGate.settings.redirect, ofGate.settings.restartPolicy, ofGate.settings.acceptDrop],
          [redirect, restartPolicy, true],
        )
        assert.equal(ofGate.settings.waitReady?.href, 'http://127.0.0.1:9170/readyz')

        const env = { ...SERVICE_LINKS, ...Object.fromEntries(sidecar.env) }
        const ofSidecar = parseSettings(SIDECAR_SETTINGS, { argv: [], env })
        assert.ok(ofSidecar.ok, JSON.stringify(ofSidecar))
        assert.equal(ofSidecar.settings.selfTest, redirect === 'nft' ? 'redirect' : 'off')
      })
})

describe('a pod that starts in one stage', () => {
  const ENV = { [KEYS.redirect]: 'env' }
  const sidecarOf = (given: Dict, by = settings()) => {
    const { spec } = applyPatch(given, opsOf(decide(given, namespace(), by))) as {
      spec: { initContainers: Dict[] }
    }
    const [sidecar = {}, ...others] = spec.initContainers
    const env = (sidecar.env ?? []) as { name: string; value: string }[]
    return { sidecar, names: [sidecar, ...others].map(({ name }) => name), env }
  }
  const said = (env: readonly { name: string; value: string }[], name: string) =>
    env.find((one) => one.name === name)?.value

  it('has only the sidecar, whose start hook waits and which proves the block itself', () => {
    const { sidecar, names, env } = sidecarOf(pod({}, ENV))
    assert.deepEqual(names, ['pod2iam-sidecar'])
    assert.deepEqual(sidecar.lifecycle, { postStart: { exec: { command: ['/pod2iam/wait-started'] } } })
    assert.equal(said(env, 'POD2IAM_PROOF'), 'enforce')
    assert.equal(said(env, 'POD2IAM_STARTED_FILE'), '/dev/shm/pod2iam-started')
    assert.equal(said(env, 'POD2IAM_SELF_TEST'), 'off')
    assert.equal(said(env, 'POD2IAM_ACCEPT_DROP'), undefined)
  })

  it('otherwise has the same sidecar as a pod with a gate', () => {
    const [one, two] = [sidecarOf(pod({}, ENV)), sidecarOf(pod({}, ENV), settings({ start: 'two-stage' }))]
    assert.deepEqual(two.names, ['pod2iam-sidecar', 'pod2iam-gate'])
    const { lifecycle, ...rest } = one.sidecar
    const own = ['POD2IAM_PROOF', 'POD2IAM_STARTED_FILE']
    assert.deepEqual({ ...rest, env: one.env.filter(({ name }) => !own.includes(name)) }, two.sidecar)
    assert.ok(lifecycle !== undefined && !('lifecycle' in two.sidecar))
  })

  it('has a sidecar that proves the block in the way the operator chose', () => {
    const by = settings({ gateProof: 'report', gateAcceptDrop: true })
    const { env } = sidecarOf(pod({}, ENV), by)
    assert.equal(said(env, 'POD2IAM_PROOF'), 'report')
    assert.equal(said(env, 'POD2IAM_ACCEPT_DROP'), 'true')
  })

  for (const [what, spec, annotations, by] of [
    ['apps are reached by a redirect', {}, {}, settings()],
    ['it is in its host’s IPC namespace', { hostIPC: true }, ENV, settings()],
    ['the operator wants two stages', {}, ENV, settings({ start: 'two-stage' })],
  ] as const)
    it(`is replaced by a pod with a gate where ${what}`, () => {
      const { sidecar, names, env } = sidecarOf(pod(spec, annotations), by)
      assert.deepEqual(names, ['pod2iam-sidecar', 'pod2iam-gate'])
      assert.equal(sidecar.lifecycle, undefined)
      for (const name of ['POD2IAM_PROOF', 'POD2IAM_STARTED_FILE', 'POD2IAM_ACCEPT_DROP'])
        assert.equal(said(env, name), undefined, name)
    })

  it('says so in its status annotation, whose template hash differs', () => {
    const status = (by: Parameters<typeof settings>[0]) => {
      const given = pod({}, ENV)
      const { metadata } = applyPatch(given, opsOf(decide(given, namespace(), settings(by)))) as {
        metadata: { annotations: Record<string, string> }
      }
      return JSON.parse(metadata.annotations[KEYS.status] ?? '') as Dict
    }
    const [one, two] = [status({}), status({ start: 'two-stage' })]
    assert.deepEqual([one.start, two.start], ['one-stage', undefined])
    assert.notEqual(one.template, two.template)
  })

  it('stays Guaranteed', () => {
    const resources = { limits: { cpu: '1', memory: '1Gi' } }
    const { sidecar } = sidecarOf(pod(container({ resources }), ENV))
    const { requests, limits } = sidecar.resources as { requests: Dict; limits: Dict }
    assert.deepEqual(requests, limits)
  })

  it('has a sidecar whose settings it reads without an error', () => {
    const { env } = sidecarOf(pod({}, ENV), settings({ gateAcceptDrop: true }))
    const variables = Object.fromEntries(env.map(({ name, value }) => [name, value]))
    const read = parseSettings(SIDECAR_SETTINGS, { argv: [], env: variables })
    assert.ok(read.ok, JSON.stringify(read))
    const { proof, acceptDrop, startedFile, selfTest } = read.settings
    assert.deepEqual(
      [proof, acceptDrop, startedFile, selfTest],
      ['enforce', true, '/dev/shm/pod2iam-started', 'off'],
    )
  })
})

/** The two containers after the patch, their env as a map. */
function injected(given: Dict, decision: Decision) {
  const { spec } = applyPatch(given, opsOf(decision)) as { spec: { initContainers: Dict[] } }
  const named = (name: string) => {
    const found = spec.initContainers.find((one) => one.name === name) ?? assert.fail(`no ${name}`)
    const env = new Map((found.env as { name: string; value: string }[]).map((one) => [one.name, one.value]))
    return { ...found, env } as Dict & { env: Map<string, string> }
  }
  return { sidecar: named('pod2iam-sidecar'), gate: named('pod2iam-gate') }
}
