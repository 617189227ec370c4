/** What the guard costs, and how long its block is open, on a node full of other people's rules. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { GUARD_TABLE } from '../../../node-guard/firewall/guard/ruleset.ts'
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
/** After a repair the guard reads its rules back: a disturbance before that would be seen as the same one. */
const SETTLE_MS = 300

export type SizeOptions = {
  /** In which mode kube-proxy has written its rules. */
  readonly mode: 'iptables' | 'nftables'
  readonly services: number
  readonly backend: BenchBackend
  /** nft and iptables: a directory with them, or the machine's own. */
  readonly programs: string | undefined
  /** For the figure's name. */
  readonly version: string
}

export const sizeName = ({ mode, services, backend, version }: SizeOptions) =>
  `size: kube-proxy ${mode}, ${services} Services, ${backend}, nft ${version}`

/** The programs of the image, where `.ci/peers` has unpacked them, and those of this machine. */
function programs(): (string | undefined)[] {
  const image = join(process.env.POD2IAM_PEERS ?? '/opt/pod2iam-peers', 'image-programs/bin')
  return existsSync(image) ? [image, undefined] : [undefined]
}

const versionOf = (directory: string | undefined): string => {
  const nft = directory === undefined ? '/usr/sbin/nft' : join(directory, 'nft')
  return existsSync(nft)
    ? (/\d[\d.]+/.exec(execFileSync(nft, ['--version'], { encoding: 'utf8' }))?.[0] ?? '?')
    : '?'
}

/** All that is measured: a guard between rules of iptables-legacy only beside kube-proxy's of the same kind. */
export const SIZES: readonly SizeOptions[] = programs().flatMap((directory) =>
  (['iptables', 'nftables'] as const).flatMap((mode) =>
    (['nft', 'iptables', 'iptables-legacy'] as const)
      .filter((backend) => mode === 'iptables' || backend !== 'iptables-legacy')
      .flatMap((backend) =>
        [0, 1000, 5000, 20_000].map((services) => ({
          mode,
          services,
          backend,
          programs: directory,
          version: versionOf(directory),
        })),
      ),
  ),
)

/** Start, memory at rest and under repeated loss of the guard's rules, and the gaps that these leave. */
export async function sizeFigures(options: SizeOptions & { readonly bundle: string }): Promise<Figure[]> {
  const { bundle, services, backend, programs } = options
  const node = await openBenchNode('routed')
  const cgroup = memoryCgroup(`pod2iam-size-${process.pid}`, LIMIT_MIB * MIB)
  const name = sizeName(options)
  const killed = () => ({ note: `${cgroup.kills()} killed for the limit of ${LIMIT_MIB} MiB` })
  try {
    if (services > 0) await loadServices(node, options)
    const started = performance.now()
    const surroundings = { cgroupProcs: cgroup.procs, ...(programs === undefined ? {} : { programs }) }
    const guard = await startGuard(node, bundle, [], backend, surroundings)
    const ready = performance.now() - started
    try {
      const lost = await probing(node, () => repeat(node, options, ROUNDS))
      return [
        { name: `${name}: start to verified`, value: ready, unit: 'ms', target: 2000 },
        {
          name: `${name}: whole cgroup at most`,
          value: peakMib(cgroup),
          unit: 'MiB',
          target: LIMIT_MIB,
          ...killed(),
        },
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
    return [
      {
        name: `${name}: whole cgroup at most`,
        value: peakMib(cgroup),
        unit: 'MiB',
        target: LIMIT_MIB - 1,
        ...killed(),
      },
    ]
  } finally {
    await node.close()
    await removed(cgroup.remove)
  }
}

async function loadServices(
  node: TestNode,
  { mode, services, backend, programs }: SizeOptions,
): Promise<void> {
  const variant = backend === 'iptables-legacy' ? 'legacy' : 'nft'
  const [command, args, input] =
    mode === 'iptables'
      ? ([`iptables-${variant}-restore`, [], iptablesServices(services)] as const)
      : (['nft', ['-f', '-'], nftServices(services)] as const)
  await node.must('node', [programs === undefined ? command : `${programs}/${command}`, ...args], input)
}

async function probing(node: TestNode, work: () => Promise<void>): Promise<Probed> {
  const stop = await startProber(node, 'pod1', '169.254.169.254')
  await work()
  return stop()
}

/** Takes the guard's own rules away, those of kube-proxy stay: the expensive case. */
async function repeat(node: TestNode, { backend, programs }: SizeOptions, rounds: number): Promise<void> {
  const tool = (name: string) => (programs === undefined ? name : `${programs}/${name}`)
  const variant = backend === 'iptables-legacy' ? 'legacy' : 'nft'
  const script =
    backend === 'nft'
      ? `${tool('nft')} delete table ${GUARD_TABLE}`
      : ['iptables', 'ip6tables']
          .map(
            (t) =>
              `printf '*mangle\\n:POSTROUTING ACCEPT\\nCOMMIT\\n*filter\\n:FORWARD ACCEPT\\nCOMMIT\\n' | ${tool(`${t}-${variant}-restore`)}`,
          )
          .join('; ')
  for (let round = 0; round < rounds; round++) {
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
