/** What happens to pods while one part of the system is unavailable, and when somebody attacks. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Cluster, createCluster, IDLE_IMAGE } from '../sandbox/cluster.ts'
import { container, containerStatus, isReady, needsNamespaces } from '../sandbox/index.ts'
import { until } from '../support/until.ts'
import { credentials, get, IPV4, LIST, ROLE } from './pods.ts'

const BROKER = 'http://169.254.170.24:9171/v1/credentials'
const TOKEN = '/var/run/secrets/pod2iam/token'

describe('during an outage or an attack:', needsNamespaces(), () => {
  let cluster: Cluster
  let steady: string
  const annotations = { [ROLE]: 'shop-orders' }
  const start = async (name: string) => {
    const pod = await cluster.pod(name, { annotations })
    await cluster.pods.waitFor(pod, isReady)
    return pod
  }
  const guardReady = async () => {
    await cluster.pods.waitFor(await cluster.guard(), isReady)
  }

  before(async () => {
    cluster = await createCluster({ injectorArgs: ['--base-role-arn=arn:aws:iam::111111111111:role/'] })
    await cluster.role('shop-orders')
    await cluster.namespace('shop', { allowed: ['shop-*'] })
    steady = await start('shop/steady')
  })
  after(async () => {
    await cluster?.close()
  })

  test('without STS a running pod keeps its credentials, and a new one waits at the gate and says why', async () => {
    const before = await credentials(cluster, steady)
    await cluster.aws.fault({ service: 'sts', kind: 'unavailable' })
    const late = await cluster.pod('shop/late', { annotations })
    await cluster.pods.waitForLog(late, 'pod2iam-sidecar', /sts-unavailable/)
    assert.equal((await credentials(cluster, steady)).AccessKeyId, before.AccessKeyId)
    const waiting = await cluster.pods.get(late)
    assert.ok('waiting' in (containerStatus(waiting, 'app')?.state ?? {}))
    await cluster.aws.clearFaults()
    await cluster.pods.waitFor(late, isReady)
    assert.equal((await credentials(cluster, late)).Code, 'Success')
  })

  test('without the API server a running pod and the broker work, and a restarted sidecar gets credentials', async () => {
    await cluster.api.refuse()
    cluster.pods.kill(steady, 'pod2iam-sidecar')
    await cluster.pods.waitForLog(
      steady,
      'pod2iam-sidecar',
      /credentials obtained[\s\S]*credentials obtained/,
    )
    assert.equal((await credentials(cluster, steady)).Code, 'Success')
    await cluster.api.accept()
    await start('shop/after-api')
  })

  test('a restarted sidecar warms up through the redirect, because its pod refuses direct connections', async () => {
    const pod = await start('shop/warm')
    const network = cluster.pods.network(pod)
    const counted = `table ip counted {
      chain input {
        type filter hook input priority -120
        tcp dport 9169 ct state new ct original ip daddr ${IPV4} counter
      }
    }`
    await cluster.exec(network, ['nft', '-f', '-'], { input: counted })
    cluster.pods.kill(pod, 'pod2iam-sidecar')
    await until('nine requests after the self-test', async () => {
      const { stdout } = await cluster.exec(network, ['nft', 'list', 'table', 'ip', 'counted'])
      return Number(/packets (\d+)/.exec(stdout)?.[1]) >= 10
    })
  })

  test('a restarted sidecar accepts the IMDSv2 tokens that it issued before, and none of another pod', async () => {
    const other = await start('shop/other')
    const token = await get(
      cluster,
      steady,
      `http://${IPV4}/latest/api/token`,
      '-XPUT',
      '-HX-aws-ec2-metadata-token-ttl-seconds: 600',
    )
    const header = `-HX-aws-ec2-metadata-token: ${token.body}`
    const restarts = containerStatus(await cluster.pods.get(steady), 'pod2iam-sidecar')?.restartCount ?? 0
    cluster.pods.kill(steady, 'pod2iam-sidecar')
    await cluster.pods.waitFor(
      steady,
      container(
        'pod2iam-sidecar',
        ({ restartCount, state }) => restartCount > restarts && 'running' in state,
      ),
    )
    await until(async () => (await get(cluster, steady, `http://${IPV4}${LIST}`, header)).status === 200)
    assert.equal((await get(cluster, other, `http://${IPV4}${LIST}`, header)).status, 401)
  })

  test('a pod never reaches the real endpoint while its sidecar is killed', async () => {
    const key = (await credentials(cluster, steady)).AccessKeyId
    cluster.pods.kill(steady, 'pod2iam-sidecar')
    const answers: string[] = []
    await until(async () => {
      const { status, body, refused } = await get(cluster, steady, `http://${IPV4}${LIST}`)
      answers.push(refused ? 'refused' : `${status} ${body}`)
      return status === 200
    })
    assert.deepEqual(
      [...new Set(answers)].filter((answer) => !/^(refused|0 |503 |200 shop-orders)/.test(answer)),
      [],
    )
    assert.ok(key)
  })

  test('the rules and the credentials remain while the broker and the firewall are killed, and both restart', async () => {
    const plain = await cluster.pod('shop/plain')
    await cluster.pods.waitFor(plain, isReady)
    const guard = await cluster.guard()
    const key = (await credentials(cluster, steady)).AccessKeyId
    for (const name of ['firewall', 'broker']) cluster.pods.kill(guard, name)
    assert.equal((await get(cluster, plain, `http://${IPV4}${LIST}`)).refused, true)
    assert.equal((await credentials(cluster, steady)).AccessKeyId, key)
    await cluster.pods.waitFor(
      guard,
      (pod) =>
        isReady(pod) &&
        ['firewall', 'broker'].every((name) => (containerStatus(pod, name)?.restartCount ?? 0) > 0),
    )
    await start('shop/after-guard')
  })

  test('a ruleset that somebody else flushed is repaired, and the redirects in the pods are not affected', async () => {
    const plain = await cluster.pod('shop/plain2')
    await cluster.pods.waitFor(plain, isReady)
    await cluster.exec('node', ['nft', 'flush', 'ruleset'])
    await until(async () => (await get(cluster, plain, `http://${IPV4}${LIST}`)).refused)
    assert.equal((await get(cluster, steady, `http://${IPV4}${LIST}`)).status, 200)
  })

  test('a new pod on a node without rules does not start until they are restored, and says why', async () => {
    const guard = await cluster.guard()
    cluster.pods.kill(guard, 'firewall', 'SIGSTOP')
    await cluster.exec('node', ['nft', 'delete', 'table', 'inet', 'pod2iam_guard'])
    const pod = await cluster.pod('shop/unguarded', { annotations })
    await cluster.pods.waitForLog(
      pod,
      'pod2iam-gate',
      /the node guard does not block the real metadata endpoint/,
    )
    assert.ok('waiting' in (containerStatus(await cluster.pods.get(pod), 'app')?.state ?? {}))
    cluster.pods.kill(guard, 'firewall', 'SIGCONT')
    await cluster.pods.waitFor(pod, isReady)
  })

  test('a token is refused from the address of another pod, and from outside the node', async () => {
    const other = await start('shop/thief')
    const token = await cluster.pods.exec(steady, ['cat', TOKEN], { container: 'pod2iam-sidecar' })
    const header = `-HAuthorization: Bearer ${token.stdout}`
    const own = await get(cluster, steady, BROKER, header)
    assert.equal(own.status, 200)
    const stolen = await get(cluster, other, BROKER, header)
    assert.deepEqual([stolen.status, JSON.parse(stolen.body).code], [403, 'peer-address-mismatch'])
    await cluster.exec('aws', ['ip', 'route', 'add', '169.254.170.24/32', 'via', '10.0.0.10'])
    const outside = await cluster.exec('aws', ['curl', '-s', '--max-time', '1', header, BROKER])
    assert.equal(outside.code, 28)
  })

  test('a pod with a hostPort on the broker’s port receives no token', async () => {
    const listen = "require('net').createServer((s) => { console.log('taken'); s.end() }).listen(9171, '::')"
    const containers = [{ name: 'app', image: IDLE_IMAGE, command: [process.execPath, '-e', listen] }]
    const thief = await cluster.pod('shop/hostport', { containers })
    const ip = (await cluster.pods.waitFor(thief, isReady))?.status?.podIPs?.map((each) => each.ip) ?? []
    // The rules that the CNI plugin portmap creates for it.
    const rules = `table inet portmap {
      chain hostports {
        type nat hook prerouting priority -100;
        meta nfproto ipv4 fib daddr type local tcp dport 9171 dnat ip to ${ip[0]}:9171
        meta nfproto ipv6 fib daddr type local tcp dport 9171 dnat ip6 to [${ip[1]}]:9171
      }
    }`
    const { code, stderr } = await cluster.exec('node', ['nft', rules])
    assert.equal(code, 0, stderr)
    const victim = await start('shop/victim')
    const { AccessKeyId } = await credentials(cluster, victim)
    assert.equal((await cluster.aws.sessions({ accessKeyId: AccessKeyId ?? '' })).length, 1)
    assert.equal(cluster.pods.logs(thief), '')
    await cluster.exec('node', ['nft', 'delete', 'table', 'inet', 'portmap'])
  })

  test('a pod that occupies the health port of another pod does not prevent its start', async () => {
    const bully = await cluster.pod('shop/bully')
    await cluster.pods.waitFor(bully, isReady)
    const { ipv4 = '' } = { ipv4: (await cluster.pods.get(bully))?.status?.podIP }
    const next = Number(ipv4.split('.')[3]) + 1
    const occupy = `const net = require('net'); const go = () => { const s = net.connect(9170, '10.244.1.${next}'); s.on('connect', () => console.log('in')); s.on('error', () => {}); s.on('close', () => setTimeout(go, 5)) }; for (let i = 0; i < 200; i++) go()`
    const attack = cluster.spawn(cluster.pods.network(bully), [process.execPath, '-e', occupy])
    const occupied = new Promise((resolve) => attack.stdout?.once('data', resolve))
    try {
      const victim = await start('shop/occupied')
      assert.equal((await cluster.pods.get(victim))?.status?.podIP, `10.244.1.${next}`)
      await occupied
    } finally {
      attack.kill('SIGKILL')
    }
  })

  test('the role of a living pod cannot be changed, and a pod whose role was changed gets no more credentials', async () => {
    await cluster.role('shop-billing')
    const pod = await start('shop/patched')
    const metadata = { annotations: { [ROLE]: 'shop-billing' } }
    const patch = () => cluster.kube.patch('pods', 'patched', 'shop', { metadata })
    await assert.rejects(patch(), /annotation iam\.amazonaws\.com\/role of a pod cannot be changed/)
    // As before Kubernetes 1.30 and while no webhook answers.
    await cluster.kube.delete('validatingadmissionpolicybindings', 'pod2iam-identity')
    await cluster.kube.delete('validatingwebhookconfigurations', 'pod2iam-injector')
    await patch()
    const token = await cluster.pods.exec(pod, ['cat', TOKEN], { container: 'pod2iam-sidecar' })
    await until(async () => {
      const answer = await get(cluster, pod, BROKER, `-HAuthorization: Bearer ${token.stdout}`)
      return answer.status === 403 && JSON.parse(answer.body).code === 'identity-changed'
    })
    assert.equal((await cluster.aws.sessions({ role: 'shop-billing' })).length, 0)
  })

  test('a namespace that no longer allows a role gets no more credentials for it', async () => {
    await cluster.role('brief')
    await cluster.namespace('brief', { allowed: ['brief'] })
    const pod = await cluster.pod('brief/app', { annotations: { [ROLE]: 'brief' } })
    await cluster.pods.waitFor(pod, isReady)
    await cluster.kube.patch('namespaces', 'brief', undefined, {
      metadata: { annotations: { 'iam.amazonaws.com/allowed-roles': '[]' } },
    })
    const token = await cluster.pods.exec(pod, ['cat', TOKEN], { container: 'pod2iam-sidecar' })
    await until(async () => {
      const answer = await get(cluster, pod, BROKER, `-HAuthorization: Bearer ${token.stdout}`)
      return answer.status === 403 && JSON.parse(answer.body).code === 'role-not-allowed'
    })
  })

  test('SIGTERM ends every process with exit code 0', async () => {
    await guardReady()
    const [guard, injector] = [await cluster.guard(), await cluster.injector()]
    for (const [pod, name] of [
      [steady, 'pod2iam-sidecar'],
      [guard, 'firewall'],
      [guard, 'broker'],
      [injector, 'injector'],
    ] as const) {
      const before = containerStatus(await cluster.pods.get(pod), name)?.restartCount ?? 0
      const sent = performance.now()
      cluster.pods.kill(pod, name, 'SIGTERM')
      const after = await cluster.pods.waitFor(
        pod,
        container(name, ({ restartCount }) => restartCount > before),
      )
      const { lastState } = containerStatus(after, name) ?? assert.fail()
      assert.equal('terminated' in lastState && lastState.terminated?.exitCode, 0, name)
      // This includes the delays of the kubelet and the API server beside other tests, and is shorter than a grace period.
      assert.ok(performance.now() - sent < 30_000, `${name}: ${performance.now() - sent} ms`)
    }
  })
})
