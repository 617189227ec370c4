/** What the chart guarantees with any values, and what single values change. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { AS_IN_CHART } from '../firewall/host-network-node.ts'
import {
  find,
  needsHelm,
  objectsOf,
  RELEASE_NAMESPACE,
  type Rendered,
  render,
  SETS,
  template,
} from './helm.ts'

type Expression = { readonly key: string; readonly operator: string; readonly values: readonly string[] }
type Selector = { readonly matchExpressions: readonly Expression[] }
type Entry = {
  readonly name: string
  readonly failurePolicy: string
  readonly timeoutSeconds: number
  readonly namespaceSelector: Selector
  readonly clientConfig: { readonly caBundle?: string }
}
type Port = { readonly containerPort: number; readonly hostPort?: number }
type Container = {
  readonly name: string
  readonly image: string
  readonly args?: readonly string[]
  readonly command?: readonly string[]
  readonly ports?: readonly Port[]
  readonly volumeMounts?: readonly { readonly mountPath: string }[]
  readonly securityContext: {
    readonly runAsUser: number
    readonly privileged?: boolean
    readonly allowPrivilegeEscalation: boolean
    readonly readOnlyRootFilesystem: boolean
    readonly capabilities: { readonly drop: readonly string[]; readonly add?: readonly string[] }
  }
}
type PodSpec = {
  readonly containers: readonly Container[]
  readonly initContainers?: readonly Container[]
  readonly enableServiceLinks?: boolean
}

const CLUSTER_WIDE =
  /^(Namespace|ClusterRole(Binding)?|(Mutating|Validating)WebhookConfiguration|ValidatingAdmissionPolicy(Binding)?|CiliumClusterwideNetworkPolicy|SecurityContextConstraints)$/
const NAME = 'kubernetes.io/metadata.name'
const INJECTION = 'pod2iam.dev/injection'

function entries(objects: readonly Rendered[]): Entry[] {
  return objects.flatMap((object) =>
    object.kind.endsWith('WebhookConfiguration') ? (object.webhooks as Entry[]) : [],
  )
}

/** The namespace selectors of webhooks and policies. */
function selectors(objects: readonly Rendered[]): Selector[] {
  type Policy = { matchConstraints: { namespaceSelector?: Selector } }
  return [
    ...entries(objects).map(({ namespaceSelector }) => namespaceSelector),
    ...objects
      .filter(({ kind }) => kind === 'ValidatingAdmissionPolicy')
      .flatMap(({ spec }) => (spec as Policy).matchConstraints.namespaceSelector ?? []),
  ]
}

/** Whether a selector takes a namespace with this name and, if any, this value of the injection label. */
function takes(selector: Selector, name: string, injection?: string): boolean {
  const labels: Readonly<Record<string, string | undefined>> = { [NAME]: name, [INJECTION]: injection }
  return selector.matchExpressions.every(({ key, operator, values }) => {
    const value = labels[key]
    const isIn = value !== undefined && values.includes(value)
    return operator === 'In' ? isIn : !isIn
  })
}

function podSpecs(objects: readonly Rendered[]): PodSpec[] {
  return objects.flatMap(({ kind, spec }) => {
    if (kind === 'Pod') return [spec as PodSpec]
    const { template } = (spec ?? {}) as { template?: { spec: PodSpec } }
    return template === undefined ? [] : [template.spec]
  })
}

const containersOf = (spec: PodSpec) => [...(spec.initContainers ?? []), ...spec.containers]

describe('with any values, the chart', needsHelm, () => {
  const rendered =
    needsHelm.skip === undefined ? SETS.map((set) => ({ set, objects: objectsOf(template(set)) })) : []

  test('never selects its own namespace, nor kube-node-lease, nor kube-system with the label all', () => {
    for (const { set, objects } of rendered)
      for (const selector of selectors(objects)) {
        for (const name of [RELEASE_NAMESPACE, 'kube-node-lease'])
          for (const label of ['enabled', 'all', undefined])
            assert.ok(!takes(selector, name, label), `${set} ${name}`)
        for (const label of ['all', undefined]) assert.ok(!takes(selector, 'kube-system', label), set)
      }
  })

  test('selects kube-system only if that is configured, and then with every webhook and policy', () => {
    for (const { set, objects } of rendered) {
      const all = selectors(objects)
      const ofUsers = all.filter((selector) => takes(selector, 'shop', 'enabled'))
      const inKubeSystem = all.filter((selector) => takes(selector, 'kube-system', 'enabled'))
      // The webhook that warns about workloads selects any namespace, labelled or not.
      const labelled = ofUsers.filter((selector) => !takes(selector, 'shop'))
      assert.equal(inKubeSystem.length, set === 'kube-system' ? labelled.length : 0, set)
    }
  })

  test('selects every opted-in namespace of users, except for excluded ones', () => {
    for (const { set, objects } of rendered) {
      for (const label of ['enabled', 'all'])
        assert.ok(selectors(objects).some((selector) => takes(selector, 'shop', label)))
      const velero = selectors(objects).some((selector) => takes(selector, 'velero', 'enabled'))
      assert.equal(velero, set !== 'kube-system', set)
    }
  })

  test('limits every webhook to five seconds, and lets those of pods fail closed', () => {
    for (const { objects } of rendered)
      for (const { timeoutSeconds, failurePolicy, name } of entries(objects)) {
        assert.ok(timeoutSeconds <= 5)
        if (/pods/.test(name)) assert.equal(failurePolicy, 'Fail', name)
      }
  })

  test('renders no certificate authority, no bundle and no data of its Secret', () => {
    for (const { objects } of rendered) {
      for (const { clientConfig } of entries(objects)) assert.equal(clientConfig.caBundle, undefined)
      for (const { kind, metadata, data } of objects)
        if (kind === 'Secret' && metadata.name.endsWith('-ca')) assert.equal(data, undefined)
    }
  })

  test('still reads a value by its name in 0.1.0', () => {
    const text = render('default', '--set', 'injector.preStopSleepSeconds=7')
    assert.match(text, /--drain-seconds=7\n/)
    assert.match(text, /terminationGracePeriodSeconds: 36\n/)
    assert.match(template('default'), /--drain-seconds=5\n/)
  })

  test('owns no namespace, since it would be deleted with everything in it', () => {
    for (const { set, objects } of rendered)
      assert.deepEqual(
        objects.filter(({ kind }) => kind === 'Namespace').map(({ metadata }) => metadata.name),
        [],
        set,
      )
  })

  test('sets the namespace of every namespaced object', () => {
    for (const { objects } of rendered)
      for (const { kind, metadata } of objects)
        assert.equal(metadata.namespace === undefined, CLUSTER_WIDE.test(kind), `${kind} ${metadata.name}`)
  })

  test('gives none of our pods the variables of Services', () => {
    for (const { objects } of rendered)
      for (const spec of podSpecs(objects)) assert.equal(spec.enableServiceLinks, false)
  })

  test('gives capabilities only to the firewall, and a token only to the broker', () => {
    for (const { objects } of rendered)
      for (const container of podSpecs(objects).flatMap(containersOf)) {
        const { name, args = [], securityContext, volumeMounts = [] } = container
        if (name === 'host-network') continue
        assert.deepEqual(securityContext.capabilities.drop, ['ALL'], name)
        assert.equal(securityContext.allowPrivilegeEscalation, false)
        assert.equal(securityContext.readOnlyRootFilesystem, true)
        const raw = args.some((flag) => /^--(backend=iptables|mode=remove)$/.test(flag))
        const expected = raw ? ['NET_ADMIN', 'NET_RAW'] : ['NET_ADMIN']
        assert.deepEqual(securityContext.capabilities.add, name === 'firewall' ? expected : undefined, name)
        assert.equal(securityContext.runAsUser === 0, name === 'firewall')
        const token = volumeMounts.some(({ mountPath }) => mountPath.startsWith('/var/run/secrets'))
        assert.equal(token, name === 'broker')
      }
  })

  test('makes at most one container privileged, which drops everything but NET_ADMIN before our program starts', () => {
    for (const { objects, set } of rendered) {
      const privileged = podSpecs(objects)
        .flatMap(containersOf)
        .filter((container) => container.securityContext.privileged !== undefined)
      assert.deepEqual(
        privileged.map(({ name }) => name),
        set === 'host-pods' ? ['host-network'] : [],
      )
      for (const { command = [], securityContext, volumeMounts = [] } of privileged) {
        assert.equal(securityContext.readOnlyRootFilesystem, true)
        const end = command.indexOf('--')
        assert.deepEqual(command.slice(0, end), ['/usr/sbin/setpriv', ...AS_IN_CHART.slice(1, -1)])
        assert.equal(command[end + 1], '/nodejs/bin/node')
        assert.ok(volumeMounts.every(({ mountPath }) => !mountPath.startsWith('/var/run/secrets')))
      }
    }
  })

  test('keeps NET_RAW for that container only where the operator chose iptables, and passes on the backend', () => {
    const rulesOf = (...args: string[]) => {
      const objects = objectsOf(render('default', '--set-string', 'guard.hostNetwork=block', ...args))
      const [found] = podSpecs(objects)
        .flatMap(containersOf)
        .filter(({ name }) => name === 'host-network')
      return [...(found?.command ?? []), ...(found?.args ?? [])]
    }
    const raw = (words: readonly string[]) => words.filter((word) => word.includes('+net_raw')).length
    assert.equal(raw(rulesOf()), 0)
    assert.ok(rulesOf().includes('--backend=auto'))
    const iptables = rulesOf('--set', 'guard.backend=iptables')
    assert.equal(raw(iptables), 3)
    assert.ok(iptables.includes('--backend=iptables'))
  })

  test('pins the broker’s port on the node, so that no other pod can claim it', () => {
    for (const { set, objects } of rendered) {
      // Mode remove has no broker.
      if (set === 'remove') continue
      const { spec } = find(objects, 'DaemonSet') as Rendered & { spec: { template: { spec: PodSpec } } }
      const ports = spec.template.spec.containers.flatMap(({ ports = [] }) => ports)
      assert.ok(ports.some(({ containerPort, hostPort }) => containerPort === 9171 && hostPort === 9171))
    }
  })

  test('grants no right with a wildcard, and names the objects that it may change', () => {
    type Rule = { readonly verbs: string[]; readonly resources: string[]; readonly resourceNames?: string[] }
    const rules = rendered
      .flatMap(({ objects }) => objects)
      .flatMap(({ kind, rules }) => (/^(Cluster)?Role$/.test(kind) ? (rules as Rule[]) : []))
    assert.ok(rules.length > 0)
    for (const { verbs, resources, resourceNames } of rules) {
      assert.ok(![...verbs, ...resources].some((word) => word.includes('*')))
      const isNamed = resources.some((name) =>
        /secrets|webhookconfigurations|securitycontextconstraints/.test(name),
      )
      assert.equal(resourceNames?.length, isNamed ? 1 : undefined, String(resources))
    }
  })

  test('explains every right in a comment above its rule', () => {
    for (const set of SETS) {
      const lines = template(set).split('\n')
      const bare = lines.filter(
        (line, index) => /^ {2}- apiGroups: \[/.test(line) && !/^ {2}#/.test(lines[index - 1] ?? ''),
      )
      assert.deepEqual(bare, [], set)
    }
  })
})

describe('a value of the chart', needsHelm, () => {
  test('makes the gate report while the guard audits, and enforce otherwise', () => {
    const proofs = ['default', 'audit', 'kube2iam', 'remove'].map(
      (set) => /--gate-proof=(\w+)/.exec(template(set))?.[1],
    )
    assert.deepEqual(proofs, ['enforce', 'report', 'report', 'enforce'])
  })

  test('for Cilium makes the gate accept a timeout as a proof, and adds the policy that drops', () => {
    for (const set of ['cilium', 'cilium-old', 'default']) {
      const text = template(set)
      const isThere = set === 'cilium'
      assert.equal(text.includes('--gate-accept-drop=true'), isThere, set)
      assert.equal(text.includes('egressDeny'), isThere, set)
      assert.equal(text.includes('--dataplane=netfilter'), isThere, set)
    }
  })

  test('for Kubernetes 1.29 leaves out the policies, which it does not have', () => {
    assert.doesNotMatch(template('kubernetes-1.29'), /ValidatingAdmissionPolicy/)
    assert.match(template('default'), /ValidatingAdmissionPolicy/)
  })

  test('for a name, a role key or a taint replaces the default in every object', () => {
    assert.doesNotMatch(
      template('kube-system'),
      /pod2iam-injector|iam\.amazonaws\.com\/role\b|guard-not-ready/,
    )
  })

  test('lets only the networks of the API servers reach the webhook, but everybody its health', () => {
    type Rule = { readonly from?: unknown; readonly ports: readonly { readonly port: string }[] }
    const ingress = (set: string) => {
      const { spec } = find(objectsOf(template(set)), 'NetworkPolicy') as Rendered & {
        spec: { ingress: Rule[] }
      }
      return spec.ingress.map(({ from, ports }) => [from, ports.map(({ port }) => port)])
    }
    assert.deepEqual(ingress('default'), [[undefined, ['webhook', 'health']]])
    const blocks = ['10.0.0.0/28', 'fd00:1::/64'].map((cidr) => ({ ipBlock: { cidr } }))
    assert.deepEqual(ingress('everything'), [
      [blocks, ['webhook']],
      [undefined, ['health']],
    ])
  })

  test('that replaces the built-in authority removes the right to write webhook configurations, and its policy', () => {
    for (const set of ['default', 'kube-system', 'own-certificate']) {
      const objects = objectsOf(template(set))
      const policy = objects.find(({ metadata, kind }) =>
        `${kind} ${metadata.name}`.match(/Policy .*-authority$/),
      )
      const account = objects.find(
        ({ kind, metadata }) => kind === 'ServiceAccount' && /injector/.test(metadata.name),
      )
      const [isWritable, who] = [
        template(set).includes('resources: [mutatingwebhookconfigurations, validatingwebhookconfigurations]'),
        `'system:serviceaccount:${RELEASE_NAMESPACE}:${account?.metadata.name}'`,
      ]
      assert.equal(isWritable, set !== 'own-certificate')
      assert.equal(JSON.stringify(policy ?? '').includes(who), isWritable, set)
    }
  })

  test('under global overrides the registry of this chart, and adds its pull Secrets', () => {
    const text = render(
      'private-registry',
      '--set-json',
      'global={"imageRegistry":"cache.example","imagePullSecrets":["cache",{"name":"other"},"registry"]}',
    )
    const objects = objectsOf(text)
    const images = podSpecs(objects)
      .flatMap(containersOf)
      .map(({ image }) => image)
    assert.ok(images.length > 4)
    for (const image of images) assert.match(image, /^cache\.example\/pod2iam\//)
    assert.match(text, /--sidecar-image=cache\.example\/pod2iam\/sidecar@/)
    assert.match(text, /--node-guard-image=cache\.example\/pod2iam\/node-guard@/)
    for (const spec of podSpecs(objects) as (PodSpec & { imagePullSecrets?: { name: string }[] })[])
      assert.deepEqual(
        spec.imagePullSecrets?.map(({ name }) => name),
        ['registry', 'cache', 'other'],
      )
  })

  test('can set images by digest', () => {
    const images = podSpecs(objectsOf(template('private-registry')))
      .flatMap(containersOf)
      .map(({ image }) => image)
    for (const image of images)
      assert.match(image, /^registry\.example:5000\/mirror\/pod2iam\/[a-z-]+(:0\.1\.0)?@sha256:\d{64}$/)
  })
})
