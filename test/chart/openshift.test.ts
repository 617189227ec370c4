/** OpenShift admits the pods of the chart by the chart's SecurityContextConstraints, which allow nothing more. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { find, needsHelm, objectsOf, type Rendered, render, SETS, template } from './helm.ts'

/** In OpenShift's form: the fields are beside the metadata. */
type Constraints = Rendered & {
  readonly allowHostNetwork: boolean
  readonly allowHostPorts: boolean
  readonly allowHostDirVolumePlugin: boolean
  readonly allowPrivilegeEscalation: boolean
  readonly allowPrivilegedContainer: boolean
  readonly readOnlyRootFilesystem: boolean
  readonly allowedCapabilities: readonly string[]
  readonly requiredDropCapabilities: readonly string[]
  readonly runAsUser: { readonly type: string; readonly uid?: number }
  readonly seLinuxContext: { readonly type: string }
  readonly seccompProfiles: readonly string[]
  readonly volumes: readonly string[]
}
type Profile = { readonly type: string; readonly localhostProfile?: string }
type Container = {
  readonly name: string
  readonly ports?: readonly { readonly hostPort?: number }[]
  readonly securityContext: {
    readonly runAsUser?: number
    readonly privileged?: boolean
    readonly allowPrivilegeEscalation?: boolean
    readonly readOnlyRootFilesystem?: boolean
    readonly capabilities?: { readonly drop?: readonly string[]; readonly add?: readonly string[] }
    readonly seccompProfile: Profile
    readonly seLinuxOptions?: object
  }
}
type PodSpec = {
  readonly hostNetwork?: boolean
  readonly serviceAccountName?: string
  readonly automountServiceAccountToken?: boolean
  readonly volumes?: readonly Readonly<Record<string, unknown>>[]
  readonly initContainers?: readonly Container[]
  readonly containers: readonly Container[]
}

/**
 * The reasons why constraints do not admit a pod, after the documentation ("Managing security context constraints"): a field that is not allowed, a
 * capability, a volume, a user, a profile.
 */
function refusals(scc: Constraints, spec: PodSpec): string[] {
  const containers = [...(spec.initContainers ?? []), ...spec.containers]
  const kinds = (spec.volumes ?? []).flatMap((volume) => Object.keys(volume).filter((key) => key !== 'name'))
  // The token of a service account is mounted as a projected volume.
  const used = spec.automountServiceAccountToken === false ? kinds : [...kinds, 'projected']
  const when = (condition: boolean, why: string) => (condition ? [why] : [])
  return [
    ...when(spec.hostNetwork === true && !scc.allowHostNetwork, 'host network'),
    ...used.filter((kind) => !scc.volumes.includes(kind)).map((kind) => `volume ${kind}`),
    ...when(used.includes('hostPath') && !scc.allowHostDirVolumePlugin, 'host path'),
    ...containers.flatMap(({ name, ports = [], securityContext: own }) => {
      const { type, localhostProfile } = own.seccompProfile
      const profile = type === 'Localhost' ? `localhost/${localhostProfile}` : 'runtime/default'
      return [
        ...when(ports.some(({ hostPort }) => hostPort !== undefined) && !scc.allowHostPorts, 'host port'),
        ...when(own.privileged === true && !scc.allowPrivilegedContainer, 'privileged'),
        ...when(own.allowPrivilegeEscalation !== false && !scc.allowPrivilegeEscalation, 'escalation'),
        ...when(own.readOnlyRootFilesystem !== true && scc.readOnlyRootFilesystem, 'writable root'),
        ...(own.capabilities?.add ?? []).filter((one) => !scc.allowedCapabilities.includes(one)),
        ...scc.requiredDropCapabilities.filter((one) => !own.capabilities?.drop?.includes(one)),
        ...when(scc.runAsUser.type === 'MustRunAs' && own.runAsUser !== scc.runAsUser.uid, 'user'),
        ...when(!scc.seccompProfiles.includes(profile), profile),
        ...when(scc.seLinuxContext.type === 'MustRunAs' && own.seLinuxOptions !== undefined, 'SELinux'),
      ].map((why) => `${name}: ${why}`)
    }),
  ]
}

const specOf = ({ spec }: Rendered) => (spec as { template: { spec: PodSpec } }).template.spec
const constraints = (objects: readonly Rendered[], name: string) =>
  find(objects, 'SecurityContextConstraints', name) as Constraints

describe('openshift.enabled', needsHelm, () => {
  const on = (set: string, ...flags: string[]) =>
    objectsOf(render(set, '--set', 'openshift.enabled=true', ...flags))

  test('is off by default', () => {
    assert.doesNotMatch(template('default'), /openshift/)
  })

  for (const set of SETS)
    test(`admits the pods of the chart with the values ${set}`, () => {
      const objects = on(set)
      const workloads = objects.filter(({ kind }) => /^(Deployment|DaemonSet)$/.test(kind))
      assert.ok(workloads.length >= 2)
      for (const workload of workloads) {
        const name = specOf(workload).serviceAccountName ?? ''
        assert.deepEqual(refusals(constraints(objects, name), specOf(workload)), [], workload.metadata.name)
      }
    })

  test('admits a privileged container only if guard.hostNetwork is on', () => {
    for (const [mode, isAdmitted] of [
      ['off', false],
      ['audit', true],
    ] as const) {
      const objects = on('default', '--set-string', `guard.hostNetwork=${mode}`)
      assert.equal(constraints(objects, 'pod2iam-node-guard').allowPrivilegedContainer, isAdmitted)
      assert.equal(constraints(objects, 'pod2iam-injector').allowPrivilegedContainer, false)
    }
  })

  test('would not admit a pod with more privileges', () => {
    const objects = on('default')
    const guard = specOf(find(objects, 'DaemonSet'))
    const injector = specOf(find(objects, 'Deployment'))
    const [first, ...others] = guard.initContainers ?? []
    if (first === undefined) return assert.fail('no container')
    const securityContext = {
      ...first.securityContext,
      privileged: true,
      capabilities: { add: ['SYS_ADMIN'] },
    }
    const more = { ...guard, initContainers: [{ ...first, securityContext }, ...others] }
    assert.deepEqual(refusals(constraints(objects, 'pod2iam-node-guard'), more), [
      'firewall: privileged',
      'firewall: SYS_ADMIN',
      'firewall: ALL',
    ])
    assert.notDeepEqual(refusals(constraints(objects, 'pod2iam-injector'), guard), [])
    const volumes = [{ name: 'host', hostPath: { path: '/' } }]
    assert.deepEqual(refusals(constraints(objects, 'pod2iam-injector'), { ...injector, volumes }), [
      'volume hostPath',
      'host path',
    ])
  })

  test('allows no host path, and no NET_RAW where only nft is used', () => {
    const guard = constraints(objectsOf(template('openshift')), 'pod2iam-node-guard')
    assert.equal(guard.allowHostDirVolumePlugin, false)
    assert.deepEqual(guard.volumes, ['emptyDir', 'projected'])
    assert.deepEqual(guard.allowedCapabilities, ['NET_ADMIN'])
    assert.deepEqual(constraints(on('pools'), 'pod2iam-node-guard').allowedCapabilities, [
      'NET_ADMIN',
      'NET_RAW',
    ])
  })

  test('lets only the two service accounts use the constraints, and only in their namespace', () => {
    const objects = objectsOf(template('openshift'))
    type Rule = { readonly resources: string[]; readonly resourceNames: string[]; readonly verbs: string[] }
    for (const name of ['pod2iam-node-guard', 'pod2iam-injector']) {
      const { rules } = find(objects, 'Role', `${name}-scc`) as Rendered & { rules: Rule[] }
      assert.deepEqual(rules[0]?.resourceNames, [name])
      assert.deepEqual(rules[0]?.verbs, ['use'])
      const { subjects } = find(objects, 'RoleBinding', `${name}-scc`)
      assert.deepEqual(subjects, [{ kind: 'ServiceAccount', name, namespace: 'pod2iam-system' }])
      const { users, groups } = constraints(objects, name)
      assert.deepEqual([users, groups], [[], []])
    }
  })

  test('leaves the user of test pods to the cluster, which has ranges of its own', () => {
    const pods = (objects: readonly Rendered[]) => objects.filter(({ kind }) => kind === 'Pod')
    const users = (objects: readonly Rendered[]) =>
      pods(objects).flatMap(({ spec }) =>
        (spec as PodSpec).containers.map(({ securityContext }) => securityContext.runAsUser),
      )
    assert.deepEqual(users(objectsOf(template('default'))), [65532])
    assert.deepEqual(users(objectsOf(template('openshift'))), [undefined])
  })
})
