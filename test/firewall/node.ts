/** One node with two pods, AWS and a host outside, in network namespaces, with an agent in each. */
import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Exec } from '../../node-guard/firewall/process/exec.ts'
import type { Layout } from '../sandbox/node/layouts.ts'
import { type Machine, openMachine } from '../sandbox/node/machine.ts'
import { collect, type ExecResult, execIn, spawnEntered, spawnIn } from '../sandbox/node/process.ts'
import { addPodScript, type Topology, upScript } from '../sandbox/node/topology.ts'
import type { AgentRequests } from './agent.ts'

export type { ExecResult } from '../sandbox/node/process.ts'

/**
 * Where the processes that a test starts cache their compiled code. Otherwise each would remove the types of every file
 * again, which is most of the time that its start takes.
 */
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(
  new URL('../../node_modules/.cache/compiled', import.meta.url),
)

export const MAIN = fileURLToPath(new URL('../../node-guard/firewall/main.ts', import.meta.url))
const AGENT = fileURLToPath(new URL('./agent.ts', import.meta.url))

export const POD1 = ['10.244.1.11', 'fd00:244::11'] as const
/** Neighbours of the metadata and broker addresses, which must not be affected. */
export const NEIGHBOURS = [
  '169.254.169.253',
  '169.254.169.123',
  '169.254.170.23',
  'fd00:ec2::253',
  'fd00:ec2::23',
] as const
/** Used as broker addresses whose link is absent: they are outside the node, where AWS answers. */
export const UNLINKED = ['169.254.170.25', 'fd00:70d2:1a::25'] as const

/** Metadata addresses that a Service may claim: AWS has them, and another program's DNAT takes some of their ports. */
export const CLAIMABLE = ['100.100.100.200', 'fd00:ec2::254'] as const
/** Metadata addresses on the node itself, where IPVS puts the addresses of Services. */
export const CLAIMED = ['100.100.100.201', 'fd00:ec2::1254'] as const

export type NetworkName = 'aws' | 'node' | 'pod1' | 'pod2' | 'outside'

export type Agent = {
  readonly [K in keyof AgentRequests]: (
    options: Parameters<AgentRequests[K]>[0],
  ) => Promise<ReturnType<AgentRequests[K]>>
}

export type TestNode = {
  readonly machine: Machine
  /** The agent of a namespace, started when it is first requested. */
  readonly agent: (network: NetworkName) => Promise<Agent>
  readonly run: (network: NetworkName, argv: readonly string[], input?: string) => Promise<ExecResult>
  /** Like `run`, but throws if the exit code is not 0. */
  readonly must: (network: NetworkName, argv: readonly string[], input?: string) => Promise<string>
  readonly spawn: (
    network: NetworkName,
    argv: readonly string[],
    env?: Record<string, string>,
  ) => ChildProcess
  readonly close: () => Promise<void>
}

/** `bridge0`: bridge without br_netfilter, `bridge1`: with. */
export type NodeKind = 'routed' | 'bridge0' | 'bridge1'

/** Opens a node in about half a second. It ends with `close()`, or with this process. */
export async function openNode(kind: NodeKind | Layout = 'routed'): Promise<TestNode> {
  const layout = typeof kind === 'string' ? undefined : kind
  const topology: Topology = layout?.base ?? (kind === 'routed' ? 'routed' : 'bridge')
  const machine = await openMachine()
  const script = async (text: string) => {
    const enter = [...machine.enter(), '--', '/bin/sh', '-e', '-c', text]
    const result = await collect(() =>
      spawnEntered(enter, 1, { env: process.env, stdio: ['pipe', 'pipe', 'pipe'] }),
    )
    if (result.code !== 0) throw new Error(`topology: ${result.stderr}`)
  }
  await script(upScript(topology, kind === 'bridge1'))
  await script(addPodScript(topology, 'pod1', 11))
  await script(addPodScript(topology, 'pod2', 12))
  await script(OUTSIDE)
  await script(layout?.up ?? '')
  await script(layout?.addPod?.(11, 'pod1') ?? '')
  await script(layout?.addPod?.(12, 'pod2') ?? '')

  const agents = new Map<NetworkName, Promise<Agent>>()
  const run = (network: NetworkName, argv: readonly string[], input?: string) =>
    execIn(machine, network, argv, { ...(input === undefined ? {} : { input }) })
  return {
    machine,
    agent: (network) => {
      const known = agents.get(network) ?? startAgent(machine, network)
      agents.set(network, known)
      return known
    },
    run,
    must: async (network, argv, input) => {
      const { code, stdout, stderr } = await run(network, argv, input)
      if (code !== 0) throw new Error(`${argv.join(' ')}: exit code ${code}: ${stderr}`)
      return stdout
    },
    spawn: (network, argv, env = {}) => spawnIn(machine, network, argv, { env: { ...process.env, ...env } }),
    close: () => machine.close(),
  }
}

/**
 * AWS reaches the broker's address through the node's uplink. A host outside uses a second interface of the node, with a
 * source (10.0.0.77, fd00:10::77) that the node would answer through its uplink, or with one of that wire. ICMP is not
 * rate limited, since the probes follow each other faster than the packets of real pods.
 */
const OUTSIDE = `
ip netns add outside
for f in all default; do echo 0 >/proc/sys/net/ipv6/conf/$f/accept_dad; done
ip -n node link add eth1 type veth peer name eth0 netns outside
${['10.9.0.1/24', 'fd00:9::1/64'].map((a) => `ip -n node addr add ${a} dev eth1${a.includes(':') ? ' nodad' : ''}`).join('\n')}
ip -n node link set eth1 up
ip -n outside link set lo up
${['10.9.0.2/24', '10.0.0.77/32', 'fd00:9::2/64', 'fd00:10::77/128'].map((a) => `ip -n outside addr add ${a} dev eth0${a.includes(':') ? ' nodad' : ''}`).join('\n')}
ip -n outside link set eth0 up
ip -n outside route add default via 10.9.0.1
ip -n outside -6 route add default via fd00:9::1
ip -n outside route add 169.254.170.24/32 via 10.9.0.1 src 10.0.0.77
ip -n outside -6 route add fd00:70d2:1a::24/128 via fd00:9::1 src fd00:10::77
ip -n aws route add 169.254.170.24/32 via 10.0.0.10
ip -n aws -6 route add fd00:70d2:1a::24/128 via fd00:10::10
${CLAIMED.map((a) => `ip -n node addr add ${a} dev lo${a.includes(':') ? ' nodad' : ''}`).join('\n')}
${[...NEIGHBOURS, ...UNLINKED, CLAIMABLE[0]].map((a) => `ip -n aws addr add ${a} dev lo${a.includes(':') ? ' nodad' : ''}`).join('\n')}
nsenter --net=/run/netns/node sh -c 'echo 0 >/proc/sys/net/ipv4/icmp_ratemask; echo 3 >/proc/sys/net/ipv6/icmp/ratemask; for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$f; done'
`

/** @param wrapper arguments before its command line */
export async function startAgent(
  machine: Machine,
  network: NetworkName,
  wrapper: readonly string[] = [],
): Promise<Agent> {
  const child = spawnIn(machine, network, [...wrapper, process.execPath, AGENT, 'serve'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  type Waiter = { readonly resolve: (result: unknown) => void; readonly reject: (error: Error) => void }
  const waiting = new Map<number, Waiter>()
  let last = 0
  let ended: Error | undefined
  const request = (operation: string, options: unknown) =>
    new Promise<unknown>((resolve, reject) => {
      if (ended) return reject(ended)
      waiting.set(++last, { resolve, reject })
      child.stdin?.write(`${JSON.stringify({ id: last, operation, options })}\n`)
    })
  const started = new Promise((resolve, reject) => waiting.set(0, { resolve, reject }))
  child.stdin?.on('error', () => {})
  child.once('exit', (code) => {
    ended = new Error(`the agent in ${network} ended with code ${code}`)
    for (const { reject } of waiting.values()) reject(ended)
  })
  if (child.stdout !== null)
    createInterface({ input: child.stdout }).on('line', (line) => {
      const { id, result } = JSON.parse(line)
      waiting.get(id)?.resolve(result)
      waiting.delete(id)
    })
  await started
  const agent = new Proxy(
    {},
    { get: (_, name) => (name === 'then' ? undefined : (o: unknown) => request(String(name), o)) },
  )
  return agent as Agent
}

/** The product's {@link Exec} in a network namespace of the node. */
export function nodeExec(node: TestNode, network: NetworkName = 'node'): Exec {
  return async (command, args, { input, env = {}, keepLine = () => true } = {}) => {
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`)
    const result = await node.run(network, ['env', ...variables, command, ...args], input)
    const lines = result.stdout.match(/.*\n|.+$/g) ?? []
    return { ...result, stdout: lines.filter((line) => keepLine(line.replace(/\n$/, ''))).join('') }
  }
}

/** The neighbour of a metadata address to which a later packet is sent, whose arrival ends a probe of that address. */
export const fenceOf = (address: string) => (address.includes(':') ? 'fd00:ec2::253' : '169.254.169.253')
