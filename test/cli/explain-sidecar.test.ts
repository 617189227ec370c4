/**
 * `explain` where a pod's sidecar runs but is not ready: each code that the sidecar can report, from a pod, a node, a broker or an
 * STS that is really broken.
 */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { type Cluster, createCluster, IDLE_IMAGE } from '../sandbox/cluster.ts'
import { isReady, needsNamespaces } from '../sandbox/index.ts'
import { SANDBOX_DIR } from '../sandbox/node/machine.ts'
import { until } from '../support/until.ts'
import { explaining } from './explaining.ts'
import { type Door, openDoor, userWith } from './support.ts'

const ROLE = 'iam.amazonaws.com/role'
const BASE = 'arn:aws:iam::111111111111:role/'
const SIDECAR = 'pod2iam-sidecar'

/** The port of a container of the pod that intercepts the requests of its sidecar to the broker, like the proxy of a mesh. */
const PROXY_PORT = 15001
const PROXY = `
const { createServer, get } = require('node:http')
const [mode] = process.argv.slice(1)
createServer((request, response) => {
  const { url: path, headers } = request
  if (mode === 'silent' || (mode === 'without-metadata' && path === '/v1/metadata')) return
  if (mode === 'foreign') return response.end('<h1>It works!</h1>')
  if (mode === 'without-route') return response.writeHead(404).end('no route')
  if (mode === 'without-authorization') delete headers.authorization
  get({ host: 'fd00:70d2:1a::24', port: 9171, path, headers }, async (answer) => {
    if (mode === 'short-lived' && path === '/v1/credentials') {
      const Expiration = new Date(Date.now() + 65_000).toISOString().replace(/\\.\\d+/, '')
      return response.end(JSON.stringify({ ...await new Response(answer).json(), Expiration }))
    }
    response.writeHead(answer.statusCode, answer.headers)
    answer.pipe(response)
  }).on('error', () => response.destroy())
}).listen(${PROXY_PORT})`

type Rights = { readonly rules: readonly { readonly verbs: readonly string[] }[] }

/** Redirects the traffic to the broker over IPv4 before our own rules do; the proxy forwards it over IPv6. */
const TO_PROXY = `table inet mesh {
  chain output {
    type nat hook output priority -120; policy accept;
    ip daddr 169.254.170.24 tcp dport 9171 redirect to :${PROXY_PORT}
  }
}`

describe('explain names why the sidecar is not ready:', needsNamespaces(), () => {
  let cluster: Cluster
  let door: Door
  let kubeconfig = ''
  const { explained, fails } = explaining(() => kubeconfig)

  before(async () => {
    cluster = await createCluster({
      injectorArgs: [`--base-role-arn=${BASE}`],
      firewallArgs: ['--poll-interval=1s'],
    })
    door = await openDoor(cluster.api)
    kubeconfig = await door.kubeconfig()
    await cluster.role('shop-orders')
    await cluster.namespace('shop', { allowed: ['shop-*', 'node'] })
  })
  after(async () => {
    await door?.close()
    await cluster?.close()
  })

  const annotations = { [ROLE]: 'shop-orders' }

  /** Starts a pod, and waits until it has its credentials. */
  async function started(name: string, proxy?: string): Promise<string> {
    const command = proxy === undefined ? {} : { command: [process.execPath, '-e', PROXY, proxy] }
    const containers = [{ name: 'app', image: IDLE_IMAGE, ...command }]
    const pod = await cluster.pod(`shop/${name}`, { annotations, containers })
    await cluster.pods.waitFor(pod, isReady)
    return pod
  }

  /** Kills the sidecar, as the kernel does when it runs out of memory: the next process has no credentials in memory. */
  const restartSidecar = (pod: string) => assert.ok(cluster.pods.kill(pod, SIDECAR))

  async function nft(where: string, rules: string): Promise<void> {
    const { code, stderr } = await cluster.exec(where, ['nft', '-f', '-'], { input: rules })
    assert.equal(code, 0, stderr)
  }

  /** The file with the pod's token that the kubelet has published. */
  async function tokenFile(pod: string): Promise<string> {
    const { metadata } = (await cluster.pods.get(pod)) ?? {}
    const volume = cluster.machine.path(`${SANDBOX_DIR}/pods/${metadata?.uid}/volumes/pod2iam-token`)
    const [version] = readdirSync(volume).filter((name) => /^\.\.\d/.test(name))
    return `${volume}/${version}/token`
  }

  test('the redirect of its pod was flushed', async () => {
    const pod = await started('flushed')
    await nft(cluster.pods.network(pod), 'flush ruleset')
    restartSidecar(pod)
    await fails('shop', 'flushed', 'credentials', 'self-test-pending', /does not lead to this process yet/)
  })

  test('its token is missing, is damaged, or belongs to another pod', async () => {
    const pod = await started('tokens')
    const file = await tokenFile(pod)
    const [namespace, other] = ['shop', 'predecessor']
    // The tokens of a pod on another node, and of a pod that was deleted.
    await cluster.kube.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'elsewhere' } })
    const spec = { nodeName: 'elsewhere' }
    await cluster.pod('shop/far', { annotations, spec })
    const far = await tokenOf('far')
    const gone = readFileSync(await tokenFile(await started(other)), 'utf8')
    await cluster.kube.delete('pods', other, namespace)
    for (const [token, code, said] of [
      ['', 'token-unreadable', /contains no token/],
      ['eyJhbGciOiJSUzI1NiJ9.e30.c2ln', 'token-invalid', /the token cannot be accepted/],
      [far, 'token-not-for-this-node', /belongs to a pod on node elsewhere/],
      [gone, 'pod-unknown', /there is no pod shop\/predecessor with the token’s uid/],
    ] as const) {
      writeFileSync(file, token)
      restartSidecar(pod)
      await fails('shop', 'tokens', 'credentials', code, said)
    }
  })

  test('the secret of its container credentials cannot be written', async () => {
    const chosen = { 'pod2iam.dev/redirect': 'env', 'pod2iam.dev/container-credentials': 'on' }
    const pod = await cluster.pod('shop/container', { annotations: { ...annotations, ...chosen } })
    await cluster.pods.waitFor(pod, isReady)
    const { metadata } = (await cluster.pods.get(pod)) ?? {}
    const file = `${SANDBOX_DIR}/pods/${metadata?.uid}/volumes/pod2iam-container-token/token`
    rmSync(cluster.machine.path(file))
    mkdirSync(cluster.machine.path(`${file}/occupied`), { recursive: true })
    restartSidecar(pod)
    await fails(
      'shop',
      'container',
      'credentials',
      'container-token-pending',
      /cannot be written to .*\(E[A-Z]+: /,
    )
  })

  async function tokenOf(name: string): Promise<string> {
    const { metadata } = await cluster.kube.get('pods', name, 'shop')
    const bound = { pod: { name, uid: metadata.uid ?? '' }, audiences: ['pod2iam'] }
    return (await cluster.kube.createToken('shop', 'default', bound)).token
  }

  test('a NetworkPolicy keeps it from the broker', async () => {
    const pod = await started('barred')
    await nft(
      cluster.pods.network(pod),
      `table inet netpol {
        chain output {
          type filter hook output priority 0; policy accept;
          ip daddr 169.254.170.24 reject
          ip6 daddr fd00:70d2:1a::24 reject
        }
      }`,
    )
    restartSidecar(pod)
    await fails(
      'shop',
      'barred',
      'credentials',
      'broker-unreachable',
      /The broker on this node does not answer/,
    )
  })

  test('something rewrites its source address on the way to the broker', async () => {
    const pod = await started('masqueraded')
    const { status } = (await cluster.pods.get(pod)) ?? {}
    await nft(
      'node',
      `table ip cni {
        chain input {
          type nat hook input priority 100; policy accept;
          ip saddr ${status?.podIP} ip daddr 169.254.170.24 snat to 10.0.0.10
        }
      }`,
    )
    restartSidecar(pod)
    await fails('shop', 'masqueraded', 'credentials', 'peer-address-mismatch', /is not an address of pod/)
    await nft('node', 'delete table ip cni')
  })

  for (const [proxy, code, said] of [
    ['silent', 'starting', /has not been asked yet/],
    ['foreign', 'broker-answer-invalid', /it is not JSON/],
    ['without-route', 'protocol-not-spoken', /does not know what this sidecar/],
    ['without-authorization', 'token-missing', /Authorization/],
    ['without-metadata', 'metadata-pending', /has not been asked for yet/],
    // As after a suspend, or when the clock of the node is set forward: credentials are renewed at half of their remaining lifetime.
    ['short-lived', 'credentials-expired', /less than a minute left/],
  ] as const)
    test(`a proxy of a mesh intercepts its requests to the broker: ${proxy}`, async () => {
      const pod = await started(proxy, proxy)
      await nft(cluster.pods.network(pod), TO_PROXY)
      restartSidecar(pod)
      await fails('shop', proxy, 'credentials', code, said)
    })

  test('a rule in the pod drops its requests to itself', async () => {
    const pod = await started('deaf')
    await nft(
      cluster.pods.network(pod),
      `table inet strict {
        chain input {
          type filter hook input priority -200; policy accept;
          ct original ip daddr 127.0.0.1 tcp dport 9169 drop
        }
      }`,
    )
    // It gives up after five seconds, so the second call may come too late.
    const again = (isWell: boolean) => void (isWell && cluster.pods.kill(pod, SIDECAR))
    await fails('shop', 'deaf', 'credentials', 'warming-up', /testing its own answers/, again)
  })

  const faults = {
    throttled: { kind: 'throttle' },
    unavailable: { kind: 'unavailable' },
    void: {
      kind: 'error',
      status: 403,
      code: 'InvalidClientTokenId',
      message: 'The security token is invalid',
    },
    regional: {
      kind: 'error',
      status: 403,
      code: 'RegionDisabledException',
      message: 'STS is not activated',
    },
  } as const
  for (const [name, code, said] of [
    ['throttled', 'sts-throttled', /STS is throttling this account/],
    ['unavailable', 'sts-unavailable', /STS did not answer properly/],
    ['void', 'node-credentials-unavailable', /the node’s own AWS credentials are missing or refused/],
    ['regional', 'sts-invalid', /STS does not accept the request/],
  ] as const)
    test(`STS answers the broker with an error: ${name}`, async () => {
      await cluster.role(`shop-${name}`)
      await cluster.aws.fault({ service: 'sts', role: `shop-${name}`, ...faults[name] })
      await cluster.pod(`shop/${name}`, { annotations: { [ROLE]: `shop-${name}` } })
      await fails('shop', name, 'credentials', code, said)
      // Otherwise the broker, which STS has refused, shares its few calls between this pod and those of the next cases.
      await cluster.kube.delete('pods', name, 'shop')
    })

  test('its role is that of the node, which only the broker knows', async () => {
    await cluster.pod('shop/greedy', { annotations: { [ROLE]: cluster.aws.config.nodeRoleArn } })
    await fails('shop', 'greedy', 'credentials', 'role-not-allowed', /the node’s own role/)
  })

  test('the API server forbids the broker to read its pod', async () => {
    const name = 'pod2iam-node-guard'
    const { rules } = (await cluster.kube.get('clusterroles', name)) as unknown as Rights
    const withoutGet = rules.map((rule) => ({ ...rule, verbs: rule.verbs.filter((verb) => verb !== 'get') }))
    await cluster.kube.patch('clusterroles', name, undefined, { rules: withoutGet })
    // The kubelet reports no address of a pod whose start hook waits, so the broker reads the pod.
    await cluster.pod('shop/unread', { annotations: { ...annotations, 'pod2iam.dev/redirect': 'env' } })
    await fails('shop', 'unread', 'credentials', 'busy', /the API server could not be asked/)
    await cluster.kube.patch('clusterroles', name, undefined, { rules })
  })

  test('its node is not guarded, which a user who may not read the guard learns only from the sidecar', async () => {
    const rules = [
      { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list'] },
      { apiGroups: [''], resources: ['pods/portforward'], verbs: ['get', 'create'] },
    ]
    const token = await userWith(cluster.kube, 'tenant', rules, 'shop')
    const tenant = explaining(await door.kubeconfig({ token, namespace: 'shop' }))
    // These are devices of Calico's eBPF dataplane, which bypasses netfilter.
    const link = (...words: string[]) => cluster.exec('node', ['ip', 'link', ...words])
    assert.equal((await link('add', 'bpfin.cali', 'type', 'veth', 'peer', 'bpfout.cali')).code, 0)
    // A pod that starts before the guard sees them gets its credentials and keeps them.
    await fails('shop', 'greedy', 'node', 'dataplane-bypass', /Calico’s eBPF dataplane runs here/)
    await cluster.pod('shop/unguarded', { annotations })
    await tenant.fails('shop', 'unguarded', 'credentials', 'node-unguarded', /is not guarded/)
    await link('del', 'bpfin.cali')
    // Pods that start before the guard sees it would be refused for the same reason.
    await until(
      'the node is guarded again',
      async () => (await explained('shop', 'unguarded')).failed === null,
    )
  })

  test('its gate waits, which a user who may not ask the sidecar learns from an Event, where the broker writes none', async () => {
    await cluster.role('shop-slow')
    await cluster.aws.fault({ service: 'sts', role: 'shop-slow', kind: 'throttle' })
    await cluster.pod('shop/slow', { annotations: { [ROLE]: 'shop-slow' } })
    const rules = [{ apiGroups: [''], resources: ['pods', 'events'], verbs: ['get', 'list'] }]
    const token = await userWith(cluster.kube, 'reader', rules, 'shop')
    const reader = explaining(await door.kubeconfig({ token, namespace: 'shop' }))
    await reader.fails(
      'shop',
      'slow',
      'credentials',
      'gate-waiting',
      /has been waiting for more than 30 seconds/,
    )
  })
})
