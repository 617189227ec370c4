/** Values by which operators adapt pods: they arrive where they should, and cannot change what the promises depend on. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { baselineChecks, restrictedChecks } from '../sandbox/kube/admission/pod-security-checks.ts'
import type { JsonObject } from '../sandbox/kube/objects/objects.ts'
import { find, needsHelm, objectsOf, type Rendered, render, template } from './helm.ts'

type Container = {
  readonly name: string
  readonly securityContext: Readonly<Record<string, unknown>>
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[]
}
type PodSpec = {
  readonly containers: readonly Container[]
  readonly initContainers?: readonly Container[]
  readonly volumes?: readonly { readonly name: string }[]
  readonly dnsConfig?: unknown
  readonly securityContext?: unknown
}
type Workload = Rendered & {
  readonly spec: {
    readonly template: { readonly spec: PodSpec }
    readonly revisionHistoryLimit: number
    readonly strategy?: unknown
    readonly updateStrategy?: unknown
  }
}

const workload = (text: string, kind: string) => find(objectsOf(text), kind) as Workload
const containersIn = ({ spec }: Workload) => [
  ...(spec.template.spec.initContainers ?? []),
  ...spec.template.spec.containers,
]
const containerOf = (one: Workload, name: string) =>
  containersIn(one).find((container) => container.name === name) ?? assert.fail(`no container ${name}`)

/** What no value can change, by container. */
const FIXED: Readonly<Record<string, object>> = {
  injector: { runAsNonRoot: true, capabilities: { drop: ['ALL'] } },
  broker: { runAsUser: 9171, runAsGroup: 9171, runAsNonRoot: true, capabilities: { drop: ['ALL'] } },
  'pre-pull-sidecar': { runAsUser: 65532, runAsNonRoot: true, capabilities: { drop: ['ALL'] } },
  firewall: { runAsUser: 0, runAsGroup: 0, capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } },
}

describe('values that adapt pods', needsHelm, () => {
  const adapted = () => template('adapted')

  test('reach the Deployment', () => {
    const deployment = workload(adapted(), 'Deployment')
    const { strategy, revisionHistoryLimit, template: pod } = deployment.spec
    assert.deepEqual(strategy, { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } })
    assert.equal(revisionHistoryLimit, 3)
    assert.deepEqual(pod.spec.dnsConfig, { options: [{ name: 'ndots', value: '2' }] })
    assert.deepEqual(pod.spec.volumes, [{ name: 'ca', configMap: { name: 'company-ca' } }])
    assert.deepEqual(pod.spec.securityContext, { supplementalGroups: [4000] })
    const { securityContext, volumeMounts } = containerOf(deployment, 'injector')
    assert.deepEqual(volumeMounts, [{ name: 'ca', mountPath: '/etc/ssl/company', readOnly: true }])
    assert.equal(securityContext.runAsUser, 10001)
    assert.equal(securityContext.runAsGroup, 10001)
    assert.deepEqual(securityContext.seLinuxOptions, { level: 's0:c1,c2' })
    assert.deepEqual(securityContext.appArmorProfile, { type: 'RuntimeDefault' })
    assert.deepEqual(securityContext.seccompProfile, { type: 'RuntimeDefault' })
  })

  test('reach the DaemonSet, each one in its own container', () => {
    const daemonSet = workload(adapted(), 'DaemonSet')
    const { updateStrategy, revisionHistoryLimit, template: pod } = daemonSet.spec
    assert.deepEqual(updateStrategy, { type: 'OnDelete' })
    assert.equal(revisionHistoryLimit, 0)
    assert.deepEqual(pod.spec.dnsConfig, { nameservers: ['169.254.20.10'] })
    assert.deepEqual(pod.spec.securityContext, { seLinuxOptions: { type: 'container_t' } })
    assert.deepEqual(
      pod.spec.volumes?.map(({ name }) => name),
      ['state', 'api', 'xtables-lock', 'ca', 'firmware'],
    )
    const firewall = containerOf(daemonSet, 'firewall')
    assert.deepEqual(firewall.securityContext.seLinuxOptions, { type: 'spc_t' })
    assert.deepEqual(firewall.securityContext.seccompProfile, {
      type: 'Localhost',
      localhostProfile: 'profiles/pod2iam.json',
    })
    assert.deepEqual(firewall.volumeMounts?.at(-1), {
      name: 'firmware',
      mountPath: '/usr/lib/modules',
      readOnly: true,
    })
    const broker = containerOf(daemonSet, 'broker')
    assert.deepEqual(broker.securityContext.seLinuxOptions, { level: 's0:c3,c4' })
    assert.deepEqual(
      broker.volumeMounts?.map(({ mountPath }) => mountPath),
      ['/run/pod2iam', '/var/run/secrets/kubernetes.io/serviceaccount', '/etc/ssl/company'],
    )
  })

  test('do not change what is fixed, even if the schema is not enforced', () => {
    const weaker = {
      privileged: true,
      allowPrivilegeEscalation: true,
      readOnlyRootFilesystem: false,
      runAsNonRoot: false,
      capabilities: { add: ['SYS_ADMIN'] },
      procMount: 'Unmasked',
      seLinuxOptions: { type: 'spc_t' },
    }
    const flags = ['guard', 'broker', 'injector'].flatMap((name) => [
      '--set-json',
      `${name}.securityContext=${JSON.stringify(name === 'injector' ? weaker : { ...weaker, runAsUser: 1 })}`,
      ...(name === 'broker'
        ? []
        : [
            '--set-json',
            `${name}.podSecurityContext=${JSON.stringify({ sysctls: [{ name: 'x', value: '1' }], runAsUser: 1 })}`,
          ]),
    ])
    const text = render('default', '--skip-schema-validation', ...flags)
    for (const kind of ['Deployment', 'DaemonSet']) {
      const one = workload(text, kind)
      assert.equal(one.spec.template.spec.securityContext, undefined)
      for (const { name, securityContext } of containersIn(one)) {
        const { seLinuxOptions: _, seccompProfile, ...rest } = securityContext
        assert.deepEqual(seccompProfile, { type: 'RuntimeDefault' }, name)
        for (const [key, value] of Object.entries({
          ...FIXED[name],
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
        }))
          assert.deepEqual(rest[key], value, `${name} ${key}`)
        for (const key of ['privileged', 'procMount']) assert.equal(rest[key], undefined, `${name} ${key}`)
      }
    }
  })

  test('let a removal reach every node by itself, even with OnDelete', () => {
    const { updateStrategy } = workload(render('adapted', '--set', 'guard.mode=remove'), 'DaemonSet').spec
    assert.deepEqual(updateStrategy, {
      type: 'RollingUpdate',
      rollingUpdate: { maxSurge: 0, maxUnavailable: '10%' },
    })
  })

  test('set by either name how many nodes are updated at a time', () => {
    const strategy = (flag: string) =>
      workload(render('default', '--set', flag), 'DaemonSet').spec.updateStrategy
    const expected = { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: 3 } }
    assert.deepEqual(strategy('guard.maxUnavailable=3'), expected)
    assert.deepEqual(strategy('guard.updateStrategy.rollingUpdate.maxUnavailable=3'), expected)
  })

  test('are added to the group with which the injector reads its certificate', () => {
    const text = render('own-certificate', '--set', 'injector.podSecurityContext.fsGroupChangePolicy=Always')
    assert.deepEqual(workload(text, 'Deployment').spec.template.spec.securityContext, {
      fsGroup: 65532,
      fsGroupChangePolicy: 'Always',
    })
  })
})

test('PodSecurity restricted admits the injector’s pods, adapted or not', needsHelm, () => {
  const judged = (spec: PodSpec) =>
    [...baselineChecks, ...restrictedChecks].flatMap(
      (check) => check.run(spec as unknown as JsonObject, {}) ?? [],
    )
  for (const set of ['default', 'adapted', 'own-certificate', 'private-registry', 'monitored'])
    assert.deepEqual(judged(workload(template(set), 'Deployment').spec.template.spec), [], set)
  assert.notDeepEqual(judged(workload(template('default'), 'DaemonSet').spec.template.spec), [])
})
