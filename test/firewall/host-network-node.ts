/** Processes in cgroups as the kubelet names them, on a test node that sees the kernel's cgroup v2. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type HostPod, writeHostPods } from '../../common/host-pods.ts'
import type { BackendName } from '../../node-guard/firewall/backend/backend.ts'
import { candidatePaths } from '../../node-guard/firewall/host-network/cgroups.ts'
import { readHostNetwork } from '../../node-guard/firewall/status/host-network.ts'
import type { HostNetwork } from '../../node-guard/firewall/status/status.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import type { LogLine } from '../support/log.ts'
import { until } from '../support/until.ts'
import type { AgentRequests } from './agent.ts'
import { fenceOf, MAIN, openNode, startAgent } from './node.ts'
import { withoutTools } from './without-tools.ts'

/** Only the real root may change cgroups outside a user namespace. */
export const needsCgroups = () => needsNamespaces('root')

export const METADATA = ['169.254.169.254', 'fd00:ec2::254'] as const
/** The quality-of-service classes, in the order of `candidates`. */
export const CLASSES = ['guaranteed', 'burstable', 'besteffort'] as const
type Class = (typeof CLASSES)[number]
export type Driver = 'systemd' | 'cgroupfs'

/** A node without nf_tables. */
const NFT_TOOLS = [
  'nft',
  ...['', '-save', '-restore'].flatMap((what) => [`iptables-nft${what}`, `ip6tables-nft${what}`]),
]

let last = 0
/** A uid that no other pod has. */
export const newUid = () => `0000${(++last).toString(16).padStart(4, '0')}-1111-4222-8333-444455556666`

/** The backends in the order of preference. */
export const BACKENDS = ['nft', 'iptables-nft', 'iptables-legacy'] as const satisfies BackendName[]

/** Starts a program like the container that the chart makes privileged, with what setpriv leaves of its privileges. */
export const AS_IN_CHART = [
  'setpriv',
  ...['--reuid=9174', '--regid=9174', '--clear-groups', '--bounding-set=-all,+net_admin'],
  ...['--inh-caps=-all,+net_admin', '--ambient-caps=-all,+net_admin', '--no-new-privs', '--'],
]

/** The outcome of a connection that is refused. */
export const REFUSED: Readonly<Record<BackendName, string>> = {
  nft: 'ECONNREFUSED',
  'iptables-nft': 'ECONNREFUSED',
  'iptables-legacy': 'timeout',
}

/** The same with `guard.backend=iptables` in the chart. */
const WITH_RAW = AS_IN_CHART.map((arg) => arg.replace('+net_admin', '+net_admin,+net_raw'))

/** How to start a process which can use only this backend. */
const ONLY: Readonly<Record<BackendName, { flags: readonly string[]; wrapper: readonly string[] }>> = {
  nft: { flags: [], wrapper: AS_IN_CHART },
  'iptables-nft': { flags: ['--backend=iptables'], wrapper: AS_IN_CHART },
  'iptables-legacy': {
    flags: ['--backend=iptables'],
    wrapper: [...withoutTools(NFT_TOOLS), ...WITH_RAW],
  },
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}

export type HostNetworkNode = Awaited<ReturnType<typeof openHostNetworkNode>>

export async function openHostNetworkNode(driver: Driver) {
  const node = await openNode()
  const base = `p2i${process.pid}-${driver}`
  const root = driver === 'systemd' ? `${base}.slice/${base}-kubepods.slice` : `${base}/kubepods`
  const shell = (script: string) => node.must('node', ['sh', '-e', '-c', script])
  await shell('mount -t cgroup2 cgroup2 /sys/fs/cgroup')
  const aws = await node.agent('aws')
  for (const host of METADATA) await aws.listen({ host, port: 80, name: 'aws' })
  const state = await mkdtemp(join(tmpdir(), 'host-network-'))
  await shell(`chmod 777 ${state}`)
  const children: ChildProcess[] = []
  const agents = new Map<string, ReturnType<typeof startAgent>>()

  /** The path of a pod's cgroup. */
  const cgroup = (uid: string, which: Class = 'burstable') =>
    candidatePaths(root, uid)[CLASSES.indexOf(which)] ?? ''
  /** A command line that runs in a cgroup, which is created if it does not exist. */
  const within = (path: string, argv: readonly string[]) => [
    ...[
      'sh',
      '-e',
      '-c',
      'mkdir -p "/sys/fs/cgroup/$0"; echo $$ >"/sys/fs/cgroup/$0/cgroup.procs"; exec "$@"',
    ],
    ...[path, ...argv],
  ]
  const agentIn = (path: string) => {
    const agent = agents.get(path) ?? startAgent(node.machine, 'node', within(path, []))
    agents.set(path, agent)
    return agent
  }
  return {
    node,
    root,
    state,
    shell,
    cgroup,
    within,
    makePod: async (which?: Class) => {
      const uid = newUid()
      await shell(`mkdir -p /sys/fs/cgroup/${cgroup(uid, which)}`)
      return uid
    },
    list: (pods: readonly HostPod[]) => writeHostPods(state, pods),
    /** The outcome of a connection of a process in this cgroup to the metadata service. */
    fetch: async (path: string, host: string = METADATA[0]) =>
      (await (await agentIn(path)).tcp({ host, port: 80, fence: fenceOf(host) })).outcome,
    agentIn,
    /** The outcome of a datagram from this cgroup. */
    send: async (path: string, datagram: Parameters<AgentRequests['udp']>[0]) =>
      (await agentIn(path)).udp(datagram),
    /** Ends the processes of a cgroup and removes it. */
    end: async (path: string) => {
      agents.delete(path)
      await shell(`echo 1 >"/sys/fs/cgroup/${path}/cgroup.kill"`)
      await until('the cgroup is gone', async () => {
        const { code } = await node.run('node', ['rmdir', `/sys/fs/cgroup/${path}`])
        return code === 0
      })
    },
    /** The rules of a backend, as its own tool prints them. */
    rules: async (backend: BackendName) => {
      if (backend === 'nft')
        return (await node.run('node', ['nft', 'list', 'table', 'inet', 'pod2iam_hostnet'])).stdout
      const texts = ['ip', 'ip6'].map((ip) => node.must('node', [`${ip}tables-${backend.slice(9)}-save`]))
      return (await Promise.all(texts))
        .join('')
        .split('\n')
        .filter((line) => line.includes('POD2IAM_HOST-'))
        .join('\n')
    },
    status: (mode: HostNetwork['mode']) => readHostNetwork(state, mode, Date.now()),
    /** Starts `firewall host-network` in a pod of its own. */
    start: async (
      mode: HostNetwork['mode'],
      options: { wrapper?: readonly string[]; backend?: BackendName } = {},
    ) => {
      const { backend = 'nft', wrapper = ONLY[backend].wrapper } = options
      const uid = newUid()
      // Removes the report of an earlier process.
      await rm(join(state, 'host-network.json'), { force: true })
      const flags = [...ONLY[backend].flags, `--mode=${mode}`, `--state-dir=${state}`, `--pods-dir=${state}`]
      const argv = [...wrapper, process.execPath, MAIN, 'host-network', ...flags]
      const child = node.spawn('node', within(`${cgroup(uid)}/container`, argv))
      children.push(child)
      const logs: LogLine[] = []
      if (child.stdout)
        createInterface({ input: child.stdout }).on('line', (line) => logs.push(JSON.parse(line)))
      child.stderr?.pipe(process.stderr)
      const status = () => readHostNetwork(state, mode, Date.now())
      const verified = async (also: (known: HostNetwork) => boolean = () => true) => {
        await until(
          'the rules are verified',
          async () => {
            const known = await status()
            return known.verified && also(known)
          },
          { deadlineMs: 60_000, detail: () => JSON.stringify(logs.slice(-5)) },
        )
      }
      return { logs, uid, status, verified, end: () => ended(child) }
    },
    /** Ends every process that `start` started, and removes all rules. */
    reset: async () => {
      await Promise.all(children.splice(0).map(ended))
      await node.must('node', [process.execPath, MAIN, 'remove', '--open-this-node'])
    },
    close: async () => {
      for (const child of children) child.kill('SIGKILL')
      const top = `/sys/fs/cgroup/${root.split('/')[0]}`
      await shell(`echo 1 >${top}/cgroup.kill`).catch(() => {})
      const remove = ['find', top, '-depth', '-type', 'd', '-exec', 'rmdir', '{}', '+']
      await until('the cgroups are gone', async () => (await node.run('node', remove)).code === 0)
      await node.close()
      await rm(state, { recursive: true, force: true })
    },
  }
}
