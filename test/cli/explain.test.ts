/** `explain POD`: each sentence for a pod that is really broken, in a cluster in which pod2iam is installed. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Cluster, createCluster, IDLE_IMAGE } from '../sandbox/cluster.ts'
import { hasPhase, isReady, needsNamespaces, type Pod } from '../sandbox/index.ts'
import { NODE_GUARD_IMAGE, SIDECAR_IMAGE } from '../sandbox/install.ts'
import { explaining } from './explaining.ts'
import { type Door, openDoor, run, userWith, widest } from './support.ts'

const ROLE = 'iam.amazonaws.com/role'
const BASE = 'arn:aws:iam::111111111111:role/'

describe('explain', needsNamespaces(), () => {
  let cluster: Cluster
  let door: Door
  let kubeconfig = ''
  const { explain, explained, fails } = explaining(() => kubeconfig)

  before(async () => {
    cluster = await createCluster({
      injectorArgs: [`--base-role-arn=${BASE}`],
      firewallArgs: ['--poll-interval=1s'],
    })
    door = await openDoor(cluster.api)
    kubeconfig = await door.kubeconfig()
    await Promise.all([cluster.role('shop-orders'), cluster.role('shop-billing')])
    await cluster.namespace('shop', { allowed: ['shop-*'] })
  })
  after(async () => {
    await door?.close()
    await cluster?.close()
  })

  test('passes every step for a pod with credentials, and names the session that STS is asked for', async () => {
    const pod = await cluster.pod('shop/orders', { annotations: { [ROLE]: 'shop-orders' } })
    await cluster.pods.waitFor(pod, isReady)
    const { code, stdout } = await explain('shop', 'orders')
    assert.equal(code, 0, stdout)
    assert.doesNotMatch(stdout, /[✖-] /)
    assert.match(
      stdout.replace(/\s+/g, ' '),
      /✔ broker allows it .*role\/shop-orders, as session shop\.orders/,
    )
    assert.match(stdout, /✔ node guarded +the guard of node\s+\S+ has verified its\s+block \(\w+\)/)
    assert.match(stdout, /✔ has credentials +the sidecar is ready and serves them/)
    assert.equal((await explained('shop', 'orders')).failed, null)
    assert.ok(widest(stdout) <= 80)
    const [session] = await cluster.aws.sessions({ role: cluster.aws.roleArn('shop-orders') })
    assert.equal(session?.session, 'shop.orders')
  })

  test('names the session policies of a pod', async () => {
    const POLICIES = 'iam.amazonaws.com/session-policy-arns'
    const arn = await cluster.aws.putManagedPolicy({ arn: 'arn:aws:iam::aws:policy/logs', statements: [] })
    const annotations = { [ROLE]: 'shop-orders', [POLICIES]: JSON.stringify([arn]) }
    await cluster.pods.waitFor(await cluster.pod('shop/narrowed', { annotations }), isReady)
    const { code, stdout } = await explain('shop', 'narrowed')
    assert.equal(code, 0, stdout)
    assert.match(
      stdout.replace(/\s+/g, ' '),
      /✔ broker allows it .*as session shop\.narrowed, narrowed by arn:aws:iam::aws:policy\/logs/,
    )
    assert.ok(widest(stdout) <= 80)
  })

  test('says that a pod does not ask for a role', async () => {
    await cluster.pod('shop/plain')
    await fails('shop', 'plain', 'asks', 'not-annotated', /has no annotation iam\.amazonaws\.com\/role/)
  })

  test('says that a pod opted out', async () => {
    await cluster.pod('shop/out', { annotations: { [ROLE]: 'shop-orders', 'pod2iam.dev/inject': 'false' } })
    await fails('shop', 'out', 'asks', 'opted-out', /"false"/)
  })

  test('says that a namespace is not opted in', async () => {
    await cluster.namespace('forgotten', { label: null, allowed: ['shop-*'] })
    await cluster.pod('forgotten/app', { annotations: { [ROLE]: 'shop-orders' } })
    await fails('forgotten', 'app', 'namespace', 'namespace-not-enabled', /is not opted in/)
  })

  test('says that the injector ignores a namespace', async () => {
    await cluster.pod('kube-system/app', { annotations: { [ROLE]: 'shop-orders' } })
    await fails('kube-system', 'app', 'namespace', 'never-injected', /ignores namespace kube-system/)
  })

  test('says why pods have no sidecar that are older than the opt-in of their namespace', async () => {
    await cluster.namespace('late', { label: null, allowed: ['shop-*'] })
    const annotated = (more: object = {}) => ({ annotations: { [ROLE]: 'shop-orders', ...more } })
    await cluster.pod('late/app', annotated())
    await cluster.pod('late/host', { ...annotated(), spec: { hostNetwork: true } })
    await cluster.pod('late/option', annotated({ 'pod2iam.dev/redirect': 'both' }))
    await cluster.pod('late/role', { annotations: { [ROLE]: 'not a role' } })
    await cluster.pod('late/foreign', { annotations: { [ROLE]: 'billing' } })
    await cluster.kube.patch('namespaces', 'late', undefined, {
      metadata: { labels: { 'pod2iam.dev/injection': 'enabled' } },
    })
    await fails('late', 'app', 'injected', 'injection-missing', /was created before/)
    await fails('late', 'host', 'pod', 'host-network', /on the host network/)
    await fails('late', 'option', 'annotations', 'invalid-annotation', /must be "nft" or "env"/)
    await fails('late', 'role', 'annotations', 'invalid-role', /white space/)
    await fails('late', 'foreign', 'role', 'role-not-allowed', /namespace late may not use role/)
  })

  test('says that there is no node for a pod', async () => {
    await cluster.pod('shop/homeless', {
      annotations: { [ROLE]: 'shop-orders' },
      spec: { nodeSelector: { nowhere: 'at-all' } },
    })
    await fails('shop', 'homeless', 'scheduled', 'not-scheduled', /no node has been found/)
  })

  test('prints the broker’s sentence about a role whose trust policy does not allow the node role', async () => {
    await cluster.pod('shop/untrusted', { annotations: { [ROLE]: 'shop-nowhere' } })
    await fails('shop', 'untrusted', 'credentials', 'sts-denied', /its trust policy needs the statement \{/)
  })

  test('uses the Events of the pod for a user who may not ask the sidecar', async () => {
    await cluster.pod('shop/unasked', { annotations: { [ROLE]: 'shop-nowhere' } })
    const token = await userWith(cluster.kube, 'looker', [
      {
        apiGroups: ['', 'apps'],
        resources: ['pods', 'namespaces', 'events', 'pods/log'],
        verbs: ['get', 'list'],
      },
    ])
    const config = await door.kubeconfig({ token, namespace: 'shop' })
    const asked = () => run(['--kubeconfig', config, 'explain', 'unasked', '-o', 'json'])
    const deadline = Date.now() + 60_000
    let document = JSON.parse((await asked()).stdout)
    while (document.explanations[0].failed === null && Date.now() < deadline)
      document = JSON.parse((await asked()).stdout)
    assert.equal(document.explanations[0].failed.code, 'sts-denied')
    const { detail } = document.explanations[0].failed
    const [, time = ''] = /trust policy .* \(Event of (\d{4}-\d\d-\d\dT[\d:.]{8,12}Z)\)$/.exec(detail) ?? []
    assert.ok(Math.abs(Date.now() - Date.parse(time)) < 300_000, detail)
    assert.deepEqual(document.refused, [
      { verb: 'create', resource: 'pods/exec', namespace: 'pod2iam-system' },
      { verb: 'create', resource: 'pods/portforward', namespace: 'shop' },
    ])
    const text = await run(['--kubeconfig', config, 'explain', 'unasked'])
    assert.match(
      text.stdout,
      /because you lack these permissions:\n {2}create pods\/exec in namespace pod2iam-system\n/,
    )
  })

  test('prints what a user with rights in one namespace can see, and which permissions are missing', async () => {
    const rules = [{ apiGroups: [''], resources: ['pods'], verbs: ['get', 'list'] }]
    const token = await userWith(cluster.kube, 'tenant', rules, 'shop')
    const config = await door.kubeconfig({ token, namespace: 'shop' })
    const { code, stdout } = await run(['--kubeconfig', config, 'explain', 'orders'])
    assert.match(stdout, /- namespace opted in +not checked: you may not read namespace shop/)
    assert.match(stdout, /✔ has its sidecar/)
    assert.match(stdout, /✔ has credentials +the pod was started, which is after/)
    assert.match(stdout, /list pods in namespace pod2iam-system/)
    assert.equal(code, 0)
    const other = await run(['--kubeconfig', config, '-n', 'late', 'explain', 'app'])
    assert.equal(other.code, 2)
    assert.match(other.stderr, /you may not get pods in namespace late \(forbidden\)/)
  })

  test('works in the injector’s container with its service account', async () => {
    const injector = await cluster.injector()
    const { code, stdout, stderr } = await cluster.pods.exec(
      injector,
      ['/nodejs/bin/node', '/pod2iam/pod2iam.cjs', 'explain', 'orders', '-n', 'shop'],
      { container: 'injector' },
    )
    assert.deepEqual([code, stderr], [0, ''], stdout)
    assert.match(stdout, /✔ role allowed/)
    assert.match(stdout, /✔ has credentials +the pod was started, which is after/)
    assert.match(stdout, /create pods\/portforward in namespace shop/)
  })

  test('explains a pod of mode env, which has no gate and of which the kubelet reports no address while its hook runs', async () => {
    const annotations = { [ROLE]: 'shop-nowhere', 'pod2iam.dev/redirect': 'env' }
    await cluster.pod('shop/environment', { annotations })
    await fails('shop', 'environment', 'credentials', 'sts-denied', /trust policy/)
  })

  test('names an init container of a mesh that does not end and runs before the sidecar', async () => {
    await cluster.pod('shop/meshed', {
      annotations: { [ROLE]: 'shop-orders' },
      spec: { initContainers: [{ name: 'istio-init', image: IDLE_IMAGE }] },
    })
    await fails('shop', 'meshed', 'sidecar', 'other-init-container', /istio-init comes first/)
  })

  test('says that the sidecar’s image cannot be pulled, or that it does not run', async () => {
    const image = cluster.node.images[SIDECAR_IMAGE]
    assert.ok(image)
    try {
      delete cluster.node.images[SIDECAR_IMAGE]
      await cluster.pod('shop/imageless', { annotations: { [ROLE]: 'shop-orders' } })
      await fails('shop', 'imageless', 'sidecar', 'sidecar-not-started', /(ErrImagePull|ImagePullBackOff)/)
      cluster.node.images[SIDECAR_IMAGE] = { command: ['/bin/sh', '-c', 'echo no licence >&2; exit 3'] }
      await cluster.pod('shop/crashing', { annotations: { [ROLE]: 'shop-orders' } })
      await fails('shop', 'crashing', 'sidecar', 'sidecar-ended', /ended: no licence/)
    } finally {
      cluster.node.images[SIDECAR_IMAGE] = image
    }
  })

  test('says that the runtime does not allow the gate to load its rules, or that it does not run', async () => {
    const image = cluster.node.images[NODE_GUARD_IMAGE]
    assert.ok(image)
    try {
      // As with gVisor: root has NET_ADMIN in its sandbox, which means nothing to the kernel that has the pod's network.
      cluster.node.images[NODE_GUARD_IMAGE] = { ...image, command: ['unshare', '--user', ...image.command] }
      await cluster.pod('shop/confined', { annotations: { [ROLE]: 'shop-orders' } })
      await fails('shop', 'confined', 'block', 'redirect-not-loaded', /nft was not permitted to work/)
      cluster.node.images[NODE_GUARD_IMAGE] = { command: ['/bin/sh', '-c', 'echo no shell here >&2; exit 3'] }
      await cluster.pod('shop/gateless', { annotations: { [ROLE]: 'shop-orders' } })
      await fails('shop', 'gateless', 'block', 'gate-ended', /pod2iam-gate ended: no shell here/)
    } finally {
      cluster.node.images[NODE_GUARD_IMAGE] = image
    }
  })

  test('passes for a pod that has succeeded, and says that a pod has failed', async () => {
    const job = (name: string, code: number) =>
      cluster.pod(`shop/${name}`, {
        annotations: { [ROLE]: 'shop-orders' },
        spec: { restartPolicy: 'Never' },
        containers: [{ name: 'app', image: IDLE_IMAGE, command: ['/bin/sh', '-c', `exit ${code}`] }],
      })
    await cluster.pods.waitFor(await job('done', 0), hasPhase('Succeeded'))
    await cluster.pods.waitFor(await job('lost', 1), hasPhase('Failed'))
    assert.equal((await explain('shop', 'done')).code, 0)
    await fails('shop', 'lost', 'ended', 'pod-failed', /the pod has failed/)
  })

  describe('of a workload', () => {
    const deployment = (namespace: string, name: string, annotations: object, spec: object = {}) =>
      cluster.kube.create({
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name, namespace },
        spec: {
          replicas: 1,
          selector: { matchLabels: { app: name } },
          template: {
            metadata: { labels: { app: name }, annotations },
            spec: { containers: [{ name: 'app', image: IDLE_IMAGE }], ...spec },
          },
        },
      })

    test('explains the template if admission refuses its pods', async () => {
      await deployment('shop', 'refused', { [ROLE]: 'billing' })
      await fails('shop', 'deployment/refused', 'role', 'role-not-allowed', /may not use role/)
      await fails('shop', 'refused', 'role', 'role-not-allowed', /may not use role/)
    })

    test('prints the error of the controller if something else refuses its pods', async () => {
      await cluster.kube.create({
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: {
          name: 'strict',
          labels: {
            'pod2iam.dev/injection': 'enabled',
            'pod-security.kubernetes.io/enforce': 'restricted',
          },
          annotations: { 'iam.amazonaws.com/allowed-roles': '["shop-*"]' },
        },
      })
      await deployment('strict', 'web', { [ROLE]: 'shop-orders' })
      await fails('strict', 'deploy/web', 'created', 'pods-refused', /violates PodSecurity/)
    })

    test('explains the pod that is stuck', async () => {
      await deployment('shop', 'web', { [ROLE]: 'shop-nowhere' })
      await fails('shop', 'web', 'credentials', 'sts-denied', /trust policy/)
    })
  })

  test('says that a pod or workload does not exist, or that its kind is unknown', async () => {
    const { code, stderr } = await explain('shop', 'nobody')
    assert.equal(code, 2)
    assert.match(stderr, /there is no pod or workload nobody in namespace shop \(not-found\)/)
    assert.match((await explain('shop', 'ingress/web')).stderr, /target-unknown/)
  })

  test('names a silent guard, a broker that is not ready, and a node without a guard', async () => {
    const guard = await cluster.guard()
    cluster.pods.kill(guard, 'firewall', 'SIGSTOP')
    await fails('shop', 'orders', 'node', 'guard-silent', /its rules stay, but are no longer checked/)
    cluster.pods.kill(guard, 'firewall', 'SIGCONT')
    const isUp = (pod: Pod | undefined) => isReady(pod)
    await cluster.pods.waitFor(guard, Object.defineProperty(isUp, 'name', { value: 'ready' }))
    cluster.pods.kill(guard, 'broker', 'SIGSTOP')
    await fails('shop', 'orders', 'node', 'broker-not-ready', /the broker of node \S+ is not ready/)
    cluster.pods.kill(guard, 'broker', 'SIGCONT')
    await cluster.kube.patch('daemonsets', 'pod2iam-node-guard', 'pod2iam-system', {
      spec: { template: { spec: { nodeSelector: { nowhere: 'at-all' } } } },
    })
    await fails('shop', 'orders', 'node', 'guard-missing', /has no node guard/)
  })

  test('says that the identity of a pod was changed while the webhooks and policies were missing', async () => {
    for (const kind of ['validatingwebhookconfigurations', 'validatingadmissionpolicybindings'])
      for (const { metadata } of (await cluster.kube.list(kind)).items)
        if (metadata.name?.startsWith('pod2iam')) await cluster.kube.delete(kind, metadata.name)
    await cluster.kube.patch('pods', 'orders', 'shop', {
      metadata: { annotations: { [ROLE]: 'shop-billing' } },
    })
    await fails('shop', 'orders', 'injected', 'identity-changed', /cannot be changed/)
  })
})

describe('explain where the guard only audits and the gate enforces', needsNamespaces(), () => {
  test('says from the gate, or without one from the sidecar, that the real metadata service answered', async () => {
    const cluster = await createCluster({
      injectorArgs: [`--base-role-arn=${BASE}`],
      firewallArgs: ['--mode=audit', '--poll-interval=1s'],
    })
    const door = await openDoor(cluster.api)
    try {
      const kubeconfig = await door.kubeconfig({ namespace: 'shop' })
      await cluster.role('shop-orders')
      await cluster.namespace('shop', { allowed: ['shop-*'] })
      await cluster.pod('shop/gated', { annotations: { [ROLE]: 'shop-orders' } })
      const annotations = { [ROLE]: 'shop-orders', 'pod2iam.dev/redirect': 'env' }
      await cluster.pod('shop/alone', { annotations })
      const { fails } = explaining(kubeconfig)
      await fails('shop', 'gated', 'block', 'block-not-proven', /169\.254\.169\.254 answered/)
      await fails('shop', 'alone', 'credentials', 'block-pending', /169\.254\.169\.254 answered/)
    } finally {
      await door.close()
      await cluster.close()
    }
  })
})
