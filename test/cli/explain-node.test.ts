/** `explain` where the node keeps a pod from its credentials: each code of a guard that is really broken. */
import assert from 'node:assert/strict'
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Cluster, createCluster } from '../sandbox/cluster.ts'
import { isReady, needsNamespaces } from '../sandbox/index.ts'
import { KUBELET_SOCKET } from '../sandbox/kube/server/protocol.ts'
import { until } from '../support/until.ts'
import { explaining } from './explaining.ts'
import { type Door, openDoor, run, userWith } from './support.ts'

const ROLE = 'iam.amazonaws.com/role'
const BASE = 'arn:aws:iam::111111111111:role/'
const STATUS = '/run/pod2iam/firewall-status.json'

describe('explain names a problem of the node:', needsNamespaces(), () => {
  let cluster: Cluster
  let door: Door
  let kubeconfig = ''
  const { explained, fails } = explaining(() => kubeconfig)

  before(async () => {
    cluster = await createCluster({
      injectorArgs: [`--base-role-arn=${BASE}`],
      firewallArgs: ['--poll-interval=1s', '--backend=nft'],
    })
    door = await openDoor(cluster.api)
    kubeconfig = await door.kubeconfig()
    await cluster.role('shop-orders')
    await cluster.namespace('shop', { allowed: ['shop-*'] })
    const pod = await cluster.pod('shop/orders', { annotations: { [ROLE]: 'shop-orders' } })
    await cluster.pods.waitFor(pod, isReady)
  })
  after(async () => {
    await door?.close()
    await cluster?.close()
  })

  const isWell = () => until('all is well', async () => (await explained('shop', 'orders')).failed === null)

  test('a dataplane that bypasses netfilter runs on the node', async () => {
    const link = (...words: string[]) => cluster.exec('node', ['ip', 'link', ...words])
    assert.equal((await link('add', 'bpfin.cali', 'type', 'veth', 'peer', 'bpfout.cali')).code, 0)
    await fails('shop', 'orders', 'node', 'dataplane-bypass', /Calico’s eBPF dataplane runs here/)
    await link('del', 'bpfin.cali')
    await isWell()
  })

  test('another program owns the guard’s table', async () => {
    const holder = cluster.spawn('node', ['nft', '--interactive'], { stdio: ['pipe', 'ignore', 'ignore'] })
    const table = 'inet pod2iam_guard'
    // This is one transaction, and nobody else may change the table until that program ends.
    holder.stdin?.write(`delete table ${table}; add table ${table} { flags owner; }\n`)
    await fails('shop', 'orders', 'node', 'block-not-verified', /has not verified its block/)
    holder.kill('SIGKILL')
    await isWell()
  })

  test('the status file of the guard is damaged, foreign, unreadable or missing', async () => {
    const guard = await cluster.guard()
    const inGuard = async (command: string) => {
      const { stderr } = await cluster.pods.exec(guard, ['/bin/sh', '-c', command], { container: 'firewall' })
      assert.equal(stderr, '')
    }
    // A directory in the place of the temporary file, which the guard writes and renames, prevents any further report.
    const inTheWay = '/run/pod2iam/.firewall-status.json.1'
    await inGuard(`mkdir ${inTheWay}`)
    for (const [command, code, said] of [
      [`echo '{' > ${STATUS}`, 'status-damaged', /is not a complete report/],
      [`echo '{}' > ${STATUS}`, 'status-foreign', /is not a report of this release/],
      [`rm ${STATUS} && mkdir ${STATUS}`, 'status-unreadable', /cannot be read/],
      [`rmdir ${STATUS}`, 'guard-missing', /no guard has reported/],
    ] as const) {
      await inGuard(command)
      await fails('shop', 'orders', 'node', code, said)
    }
    await inGuard(`rmdir ${inTheWay}`)
    await isWell()
  })

  test('the guard does not answer its probe, for a user who may not enter it', async () => {
    const rules = [{ apiGroups: [''], resources: ['pods', 'namespaces'], verbs: ['get', 'list'] }]
    const token = await userWith(cluster.kube, 'onlooker', rules)
    const onlooker = explaining(await door.kubeconfig({ token, namespace: 'shop' }))
    const guard = await cluster.guard()
    cluster.pods.kill(guard, 'firewall', 'SIGSTOP')
    await onlooker.fails('shop', 'orders', 'node', 'guard-not-ready', /the firewall of node \S+ is not ready/)
    cluster.pods.kill(guard, 'firewall', 'SIGCONT')
    await isWell()
  })

  test('the API server does not reach the kubelet, so the guard could not be asked, which is only a warning', async () => {
    const socket = join(cluster.api.directory, KUBELET_SOCKET)
    await rename(socket, `${socket}-away`)
    const { steps } = await explained('shop', 'orders')
    const { stdout } = await run(['--kubeconfig', kubeconfig, 'status', '-o', 'json'])
    await rename(`${socket}-away`, socket)
    const node = steps.find(({ id }) => id === 'node')
    assert.deepEqual([node?.state, node?.code], ['warning', 'guard-not-asked'])
    assert.equal(steps.find(({ id }) => id === 'credentials')?.state, 'ok')
    const [{ warnings }] = JSON.parse(stdout).nodes
    assert.deepEqual(
      warnings.map(({ code }: { code: string }) => code),
      ['guard-not-asked'],
    )
  })
})

describe('explain where the settings of injector and broker and the clocks differ', needsNamespaces(), () => {
  test('names the broker’s ceiling, and a pod whose address the kubelet has not reported for minutes', async () => {
    const cluster = await createCluster({
      injectorArgs: [`--base-role-arn=${BASE}`],
      brokerArgs: [`--permitted-roles=${BASE}shop-orders`],
      // For the node, every pod was created seven minutes ago.
      api: { clockOffsetMs: -7 * 60_000 },
    })
    const door = await openDoor(cluster.api)
    try {
      const { fails } = explaining(await door.kubeconfig())
      await Promise.all(['shop-orders', 'shop-billing'].map((role) => cluster.role(role)))
      await cluster.namespace('shop', { allowed: ['shop-*'] })
      await cluster.pod('shop/billing', { annotations: { [ROLE]: 'shop-billing' } })
      await fails('shop', 'billing', 'entitled', 'role-not-allowed', /--permitted-roles do not include role/)
      // While the start hook of the pod waits, the kubelet reports no address of it.
      const held = { [ROLE]: 'shop-orders', 'pod2iam.dev/redirect': 'env' }
      await cluster.pod('shop/held', { annotations: held })
      await fails('shop', 'held', 'credentials', 'pod-address-unknown', /has reported no address of pod/)
    } finally {
      await door.close()
      await cluster.close()
    }
  })
})
