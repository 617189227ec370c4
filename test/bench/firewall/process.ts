/** The built guard as a process on a test node, as its container runs it. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { FIREWALL_HEALTH_PORT } from '../../../common/addresses.ts'
import { ADMIN_AND_RAW, NET_ADMIN_ONLY } from '../../firewall/guard-process.ts'
import { openNode, type TestNode } from '../../firewall/node.ts'
import { descendant } from '../../sandbox/node/process.ts'
import { until } from '../../support/until.ts'
import type { BenchBackend } from './disturbances.ts'

export type Kind = 'routed' | 'bridge'

/** The directory of its state; inside the node, so that it ends with the node. */
const STATE_DIR = '/run/pod2iam'

export type Guard = {
  /** PID of the node process itself, as seen from here. */
  readonly pid: number
  readonly kill: () => Promise<void>
}

/** A node with a service that answers on the metadata addresses, and two pods. */
export async function openBenchNode(kind: Kind): Promise<TestNode> {
  const node = await openNode(kind === 'routed' ? 'routed' : 'bridge1')
  const aws = await node.agent('aws')
  for (const host of ['0.0.0.0', '::']) await aws.listen({ host, port: 80, name: 'aws' })
  return node
}

export type GuardSurroundings = {
  /** A directory with other versions of nft and iptables than the machine's. */
  readonly programs?: string
  /** The `cgroup.procs` of a cgroup in which it is started, with all that it runs. */
  readonly cgroupProcs?: string
}

/**
 * Starts a guard and waits until its health says that it is ready. The poll is slow, so that repairs are triggered by events.
 *
 * @throws an Error with its last line if it ends instead
 */
export async function startGuard(
  node: TestNode,
  bundle: string,
  flags: readonly string[],
  backend: BenchBackend = 'nft',
  { programs, cgroupProcs }: GuardSurroundings = {},
): Promise<Guard> {
  const legacy = backend === 'iptables-legacy'
  // The guard chooses the variant that has the node's other rules.
  if (legacy) await node.must('node', ['iptables-legacy', '-w', '-t', 'nat', '-n', '-L'])
  const settings = [
    `--backend=${legacy ? 'iptables' : backend}`,
    '--poll-interval=5m',
    `--state-dir=${STATE_DIR}`,
  ]
  const argv = [process.execPath, bundle, 'guard', ...settings, ...flags]
  const inside = cgroupProcs === undefined ? [] : ['sh', '-c', `echo 0 >${cgroupProcs}; exec "$@"`, 'sh']
  const child = node.spawn('node', [...inside, ...(legacy ? ADMIN_AND_RAW : NET_ADMIN_ONLY), ...argv], {
    ...(programs === undefined ? {} : { PATH: `${programs}:${process.env.PATH}` }),
  })
  const closed = once(child, 'close')
  const last = lastLine(child)
  const ready = async () => {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(last() || 'the guard ended')
    const { status } = await (await node.agent('node')).get({ port: FIREWALL_HEALTH_PORT, path: '/readyz' })
    return status === 200
  }
  await until('the guard is ready', ready)
  return {
    pid: descendant(child.pid, 1) ?? 0,
    kill: async () => {
      child.kill('SIGKILL')
      await closed
    },
  }
}

/** Reads everything that a process prints, so that it never blocks on its output, and keeps the last line. */
function lastLine(child: ChildProcess): () => string {
  let last = ''
  for (const stream of [child.stdout, child.stderr])
    if (stream) createInterface({ input: stream }).on('line', (line) => (last = line.slice(0, 300)))
  return () => last
}
