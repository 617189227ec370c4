/** `status` and `who`: what the operator sees of every node and every pod. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { parse } from 'yaml'
import { VERSION } from '../../common/version.ts'
import { type Cluster, createCluster } from '../sandbox/cluster.ts'
import { isReady, needsNamespaces } from '../sandbox/index.ts'
import { type Door, openDoor, PROGRAM, run, userWith, widest } from './support.ts'

const ROLE = 'iam.amazonaws.com/role'
const POLICY = 'arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess'

describe('status and who', needsNamespaces(), () => {
  let cluster: Cluster
  let door: Door
  let kubeconfig = ''

  before(async () => {
    cluster = await createCluster({ firewallArgs: ['--poll-interval=1s'] })
    door = await openDoor(cluster.api)
    kubeconfig = await door.kubeconfig()
    await Promise.all(['shop-orders', 'shop-default'].map((name) => cluster.role(name)))
    await cluster.aws.putManagedPolicy({ arn: POLICY, statements: [] })
    const allowed = ['shop-*', 'arn:aws:iam::111111111111:role/shop-*']
    await cluster.namespace('shop', { allowed })
    await cluster.namespace('all', {
      label: 'all',
      allowed,
      annotations: { 'iam.amazonaws.com/default-role': cluster.aws.roleArn('shop-default') },
    })
    const pods = await Promise.all([
      cluster.pod('shop/orders', { annotations: { [ROLE]: cluster.aws.roleArn('shop-orders') } }),
      cluster.pod('shop/metadata', { annotations: { 'pod2iam.dev/inject': 'metadata' } }),
      cluster.pod('shop/named', {
        annotations: { [ROLE]: 'shop-orders', 'iam.amazonaws.com/session-name': 'ledger' },
      }),
      cluster.pod('shop/narrowed', {
        annotations: { [ROLE]: 'shop-orders', 'iam.amazonaws.com/session-policy-arns': `["${POLICY}"]` },
      }),
      cluster.pod('all/anything'),
      cluster.pod('shop/plain'),
    ])
    await Promise.all(pods.map((pod) => cluster.pods.waitFor(pod, isReady)))
  })
  after(async () => {
    await door?.close()
    await cluster?.close()
  })

  const cli = (...args: string[]) => run(['--kubeconfig', kubeconfig, ...args])

  test('status shows the block and the broker of a node as its guard reports them, within 80 columns', async () => {
    const { code, stdout, stderr } = await cli('status')
    assert.deepEqual([code, stderr], [0, ''], stdout)
    assert.match(stdout, /^NODE +BLOCK +BROKER +REFUSED +REPAIRS +VERSION\n/)
    assert.match(stdout, /yes \((nft|iptables[^)]*)\)/)
    assert.match(
      stdout.replace(/\s+/g, ' '),
      new RegExp(`injectors: 1 of dev; node guards: 1 of dev; sidecars: 5 of ${VERSION}`),
    )
    assert.ok(widest(stdout) <= 80, `a line has ${widest(stdout)} columns`)
  })

  test('status -o json contains what `firewall status --json` prints', async () => {
    const { nodes, refused } = JSON.parse((await cli('status', '-o', 'json')).stdout)
    const guard = await cluster.guard()
    const own = JSON.parse(
      (
        await cluster.pods.exec(guard, ['/nodejs/bin/node', '/pod2iam/firewall.cjs', 'status', '--json'], {
          container: 'firewall',
        })
      ).stdout,
    )
    assert.deepEqual(refused, [])
    assert.equal(nodes.length, 1)
    const [{ node, mode, backend, verified, source, broker, leftovers }] = nodes
    assert.deepEqual(
      { node, mode, backend, verified, source, broker, leftovers, guard: nodes[0].guard },
      {
        node: cluster.node.name,
        ...{ mode: own.mode, backend: own.backend, verified: true, source: 'guard', broker: 'ready' },
        ...{ leftovers: [], guard },
      },
    )
  })

  test('status counts the requests that the node refuses', async () => {
    const refusedNow = async () =>
      parse((await cli('status', '-o', 'yaml')).stdout).nodes[0].refusedPackets as number
    const before = await refusedNow()
    await cluster.exec(cluster.pods.network('shop/plain'), ['curl', '-s', '-m2', 'http://169.254.169.254/'])
    const deadline = Date.now() + 60_000
    while ((await refusedNow()) <= before) assert.ok(Date.now() < deadline, 'the guard counts it')
  })

  test('status shows the result of the guard’s probes to a user who may not enter it, and says that this is less', async () => {
    const rules = [{ apiGroups: [''], resources: ['pods', 'nodes'], verbs: ['get', 'list'] }]
    const token = await userWith(cluster.kube, 'no-exec', rules)
    const config = await door.kubeconfig({ token })
    const { code, stdout } = await run(['--kubeconfig', config, 'status'])
    assert.match(stdout, /not asked +ready/)
    assert.match(
      stdout,
      /because you lack these permissions:\n {2}create pods\/exec in namespace pod2iam-system\n/,
    )
    assert.equal(code, 2)
  })

  test('status names a rule that kube2iam left, with the command that removes it', async () => {
    const rule = '-d 169.254.169.254/32 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.10:8181'
    const iptables = (what: string) =>
      cluster.exec('node', ['iptables-nft', '-t', 'nat', what, 'PREROUTING', ...rule.split(' ')])
    assert.equal((await iptables('-A')).code, 0)
    try {
      const { code, stdout } = await cli('status')
      assert.equal(code, 0)
      assert.match(stdout, /! leftover on /)
      assert.match(
        stdout.replace(/\s+/g, ' '),
        /on the node: iptables-nft -t nat -D PREROUTING -d 169\.254\.169\.254\/32/,
      )
      const { nodes } = JSON.parse((await cli('status', '-o', 'json')).stdout)
      assert.equal(nodes[0].leftovers.length, 1)
    } finally {
      await iptables('-D')
    }
    assert.deepEqual(JSON.parse((await cli('status', '-o', 'json')).stdout).nodes[0].leftovers, [])
  })

  test('status names a node without a guard', async () => {
    await cluster.kube.create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'bare' } })
    try {
      const { code, stdout } = await cli('status')
      assert.equal(code, 1)
      assert.match(stdout, /✖ guard-missing on bare\n {2}it has no node guard/)
      assert.match(stdout, /^bare +NO +not ready +- +- +-$/m)
    } finally {
      await cluster.kube.delete('nodes', 'bare')
    }
  })

  test('status --watch shows a node when it changes, and ends with SIGINT', async () => {
    const child = spawn(
      process.execPath,
      [PROGRAM, '--kubeconfig', kubeconfig, 'status', '--watch', '--interval=1', '-o', 'json'],
      { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: process.env.PATH } },
    )
    let output = ''
    const until = async (pattern: RegExp) => {
      const deadline = Date.now() + 90_000
      while (!pattern.test(output)) {
        assert.ok(Date.now() < deadline, `no ${pattern} in ${output}`)
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text
    })
    const guard = await cluster.guard()
    await until(/"verified": true/)
    cluster.pods.kill(guard, 'firewall', 'SIGSTOP')
    await until(/"code": "guard-silent"/)
    cluster.pods.kill(guard, 'firewall', 'SIGCONT')
    output = ''
    await until(/"verified": true/)
    child.kill('SIGINT')
    const [code] = await new Promise<[number | null]>((resolve) =>
      child.once('close', (...all: [number | null]) => resolve(all)),
    )
    assert.ok(code === 0 || code === 1, `exit code ${code}`)
  })

  test('who shows every pod with a sidecar, its role, the source of the role, and its session', async () => {
    const { code, stdout } = await cli('who', '-o', 'json')
    assert.equal(code, 0)
    const { pods } = JSON.parse(stdout)
    const shown = pods
      .map((one: Record<string, unknown>) => [one.namespace, one.pod, one.role, one.source, one.session])
      .sort()
    const { aws } = cluster
    assert.deepEqual(shown, [
      ['all', 'anything', aws.roleArn('shop-default'), 'default', 'all.anything'],
      ['shop', 'metadata', null, 'none', null],
      ['shop', 'named', 'shop-orders', 'annotation', 'shop.ledger'],
      ['shop', 'narrowed', 'shop-orders', 'annotation', 'shop.narrowed'],
      ['shop', 'orders', aws.roleArn('shop-orders'), 'annotation', 'shop.orders'],
    ])
    assert.deepEqual(
      pods.flatMap(({ pod, narrowedBy }: { pod: string; narrowedBy: string[] }) =>
        narrowedBy.map((arn) => [pod, arn]),
      ),
      [['narrowed', POLICY]],
    )
    const text = await cli('who')
    assert.match(text.stdout, /^POD +ROLE +FROM +SESSION +EXPIRES +READY\n/)
    assert.match(text.stdout.replace(/\s+/g, ' '), new RegExp(`shop/narrowed is narrowed by ${POLICY}`))
    assert.ok(widest(text.stdout) <= 80, `a line has ${widest(text.stdout)} columns`)
  })

  test('who POD shows when its credentials expire, as its sidecar says, and the session that STS knows', async () => {
    const { code, stdout } = await cli('-n', 'shop', 'who', 'orders', '-o', 'json')
    assert.equal(code, 0)
    const [{ expires, ready, session }] = JSON.parse(stdout).pods
    assert.equal(ready, true)
    const sessions = await cluster.aws.sessions({ role: cluster.aws.roleArn('shop-orders') })
    const own = sessions.find((one) => one.session === session)
    assert.ok(own, `STS knows no session ${session}`)
    assert.ok(Math.abs(Date.parse(expires) - own.expiresAt) < 60_000, `${expires}, STS: ${own.expiresAt}`)
  })

  test('who can be limited to a namespace and to a role', async () => {
    const names = async (...args: string[]) =>
      JSON.parse((await cli('who', '-o', 'json', ...args)).stdout)
        .pods.map(({ pod }: { pod: string }) => pod)
        .sort()
    assert.deepEqual(await names('-n', 'all'), ['anything'])
    assert.deepEqual(await names('--role', 'shop-o*'), ['named', 'narrowed', 'orders'])
  })

  test('who refers to explain for a pod without a sidecar', async () => {
    const { code, stderr } = await cli('-n', 'shop', 'who', 'plain')
    assert.equal(code, 2)
    assert.match(
      stderr,
      /has no sidecar, so it has no role\s+\(not-injected\)\n→ pod2iam explain plain says why/,
    )
  })

  test('who reports a role that the namespace does not allow any more, with exit code 1', async () => {
    await cluster.kube.patch('namespaces', 'all', undefined, {
      metadata: { annotations: { 'iam.amazonaws.com/allowed-roles': '["other"]' } },
    })
    const { code, stdout } = await cli('who', '-n', 'all')
    assert.equal(code, 1)
    assert.match(stdout, /role-not-(all|\s)/)
    assert.match(stdout, /pod2iam -n all explain anything says why/)
  })
})
