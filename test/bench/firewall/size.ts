/** What the guard costs, and how long its block is open, on a node full of other programs' rules. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { GUARD_TABLE } from '../../../node-guard/firewall/rules/guard-nft.ts'
import type { TestNode } from '../../firewall/node.ts'
import { memoryCgroup, peakMib } from '../cgroup.ts'
import { type Figure, median } from '../report.ts'
import { type BenchBackend, rulesBack } from './disturbances.ts'
import { type Probed, startProber } from './prober.ts'
import { openBenchNode, startGuard } from './process.ts'
import { iptablesServices, nftServices } from './services.ts'

/** The chart's limit for the firewall container. */
const LIMIT_MIB = 64
const MIB = 1024 * 1024
const ROUNDS = 10
/** After a repair the guard reads its rules back, and would take a disturbance before that for the same one. */
const SETTLE_MS = 300

/** A node with Services: which program wrote the rules (`iptables` and `nftables` are kube-proxy's modes), and how many there are. */
export type CrowdedNode = {
  readonly mode: 'iptables' | 'iptables-legacy' | 'nftables'
  readonly services: number
}

const BACKENDS: Readonly<Record<CrowdedNode['mode'], readonly BenchBackend[]>> = {
  iptables: ['nft', 'iptables'],
  'iptables-legacy': ['iptables-legacy'],
  nftables: ['nft', 'iptables'],
}

/** Everything that is measured. */
export const CROWDED_NODES: readonly CrowdedNode[] = (
  ['iptables', 'iptables-legacy', 'nftables'] as const
).flatMap((mode) => [0, 1000, 5000, 20_000].map((services) => ({ mode, services })))

export const sizeName = ({ mode, services }: CrowdedNode) => `size: kube-proxy ${mode}, ${services} Services`

/** nft and iptables of one release. */
type Programs = {
  /** Their directory; undefined for the machine's own. */
  readonly directory: string | undefined
  /** The version of nft. */
  readonly version: string
}

/** The programs of the image, if `.ci/peers` has unpacked them, and those of this machine. */
function programs(): readonly Programs[] {
  const image = join(process.env.POD2IAM_PEERS ?? '/opt/pod2iam-peers', 'image-programs/bin')
  return [image, undefined].flatMap((directory) => {
    const nft = directory === undefined ? '/usr/sbin/nft' : join(directory, 'nft')
    if (!existsSync(nft)) return []
    const said = execFileSync(nft, ['--version'], { encoding: 'utf8' })
    return [{ directory, version: /\d[\d.]+/.exec(said)?.[0] ?? 'unknown' }]
  })
}

const tool = ({ directory }: Programs, name: string) =>
  directory === undefined ? name : join(directory, name)

/**
 * Start, memory and gaps under repeated loss of the guard's rules, for every backend and with the programs of the image
 * and of this machine. They share one node, because writing 20,000 Services of mode `nftables` takes minutes.
 */
export async function sizeFigures(
  bundle: string,
  crowd: CrowdedNode,
  tell: (what: string) => void,
): Promise<Figure[]> {
  const node = await openBenchNode('routed')
  const all = programs()
  try {
    const [first] = all
    if (first === undefined) throw new Error('nft is not installed')
    if (crowd.services > 0) await loadServices(node, crowd, first)
    const figures: Figure[] = []
    for (const backend of BACKENDS[crowd.mode])
      for (const used of all) {
        const name = `${sizeName(crowd)}, ${backend}, nft ${used.version}`
        tell(name)
        figures.push(...(await oneGuard(node, bundle, { name, backend, used, others: first })))
      }
    return figures
  } finally {
    await node.close()
  }
}

type OneGuard = {
  readonly name: string
  readonly backend: BenchBackend
  readonly used: Programs
  /** What the node's other programs use: kube-proxy brings its own nft, and nft 1.0.6 crashes on sets of a later one. */
  readonly others: Programs
}

async function oneGuard(
  node: TestNode,
  bundle: string,
  { name, backend, used, others }: OneGuard,
): Promise<Figure[]> {
  const cgroup = memoryCgroup(`pod2iam-size-${process.pid}`, LIMIT_MIB * MIB)
  const memory = (target: number): Figure => ({
    name: `${name}: whole cgroup at most`,
    value: peakMib(cgroup),
    unit: 'MiB',
    target,
    note: `${cgroup.kills()} killed for the limit of ${LIMIT_MIB} MiB`,
  })
  try {
    const started = performance.now()
    const guard = await startGuard(node, bundle, [], backend, {
      cgroupProcs: cgroup.procs,
      ...(used.directory === undefined ? {} : { programs: used.directory }),
    })
    const ready = performance.now() - started
    try {
      const lost = await probing(node, () => repeat(node, backend, others))
      return [
        { name: `${name}: start to verified`, value: ready, unit: 'ms', target: 2000 },
        memory(LIMIT_MIB),
        {
          name: `${name}: gap, median`,
          value: median(lost.gaps),
          unit: 'ms',
          target: 50,
          note: noteOf(lost),
        },
        { name: `${name}: gap, worst`, value: Math.max(...lost.gaps), unit: 'ms', target: 250 },
      ]
    } finally {
      await guard.kill()
    }
  } catch (error) {
    if (cgroup.kills() === 0) throw error
    // The guard was killed because of the limit: the target 0 reports the memory as missed.
    return [memory(0)]
  } finally {
    // The end of a container also ends everything that runs in it.
    for (const pid of cgroup.members()) process.kill(pid, 'SIGKILL')
    const path = others.directory === undefined ? process.env.PATH : `${others.directory}:${process.env.PATH}`
    await node.run('node', ['env', `PATH=${path}`, process.execPath, bundle, 'remove', '--open-this-node'])
    await removed(cgroup.remove)
  }
}

async function loadServices(node: TestNode, { mode, services }: CrowdedNode, by: Programs): Promise<void> {
  const [command, args, input] =
    mode === 'nftables'
      ? (['nft', ['-f', '-'], nftServices(services)] as const)
      : ([
          `iptables-${mode === 'iptables' ? 'nft' : 'legacy'}-restore`,
          [],
          iptablesServices(services),
        ] as const)
  // Without a deadline: 20,000 Services of mode nftables take the kernel minutes.
  const child = node.spawn('node', [tool(by, command), ...args])
  child.stdin?.end(input)
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${command} could not load the Services`)
}

async function probing(node: TestNode, work: () => Promise<void>): Promise<Probed> {
  const stop = await startProber(node, 'pod1', '169.254.169.254')
  await work()
  return stop()
}

/** Removes only the guard's own rules; those of kube-proxy stay, which makes the repair expensive. */
async function repeat(node: TestNode, backend: BenchBackend, others: Programs): Promise<void> {
  const variant = backend === 'iptables-legacy' ? 'legacy' : 'nft'
  const empty = "'*mangle\\n:POSTROUTING ACCEPT\\nCOMMIT\\n*filter\\n:FORWARD ACCEPT\\nCOMMIT\\n'"
  const script =
    backend === 'nft'
      ? `${tool(others, 'nft')} delete table ${GUARD_TABLE}`
      : ['iptables', 'ip6tables']
          .map((family) => `printf ${empty} | ${tool(others, `${family}-${variant}-restore`)} -w`)
          .join('; ')
  for (let round = 0; round < ROUNDS; round++) {
    await node.must('node', ['sh', '-c', script])
    await rulesBack(node, backend)
    await sleep(SETTLE_MS)
  }
}

const noteOf = ({ gaps, outcomes, longestPause }: Probed) =>
  `${gaps.length} gaps, ${outcomes.through ?? 0} connections through, longest pause of the prober ${longestPause.toFixed(0)} ms`

/** A cgroup can be removed when its last process is gone, which takes the kernel a moment. */
async function removed(remove: () => void): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return remove()
    } catch (error) {
      if (attempt === 100) throw error
      await sleep(50)
    }
  }
}
