/** The part of `npm run test:kubernetes` that runs in namespaces of its own (started by main.ts): the cluster, then the promises on it. */
import { settingsOrExit } from '../../common/settings.ts'
import { openCluster } from '../cluster/access/real.ts'
import type { Options } from '../cluster/options.ts'
import { run } from '../cluster/run.ts'
import { exitCodeOf, tableOf } from '../cluster/table.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { REGISTRIES, TAGS } from './layout.ts'
import { KUBERNETES_OPTIONS } from './options.ts'

const INTERRUPTED = 130
const SAME_INTERRUPT_MS = 1000
/** Two nodes and everything else share this machine's processors. */
const WAIT_SECONDS = 900

const [place = '{}'] = process.argv.splice(2, 1)
const given = settingsOrExit('pod2iam test:kubernetes', KUBERNETES_OPTIONS)
const interrupt = new AbortController()
let interruptedAt = Number.POSITIVE_INFINITY
// The signal may arrive twice: from the terminal, which sends it to all processes, and from main.ts. Whenever this process ends, everything ends with it.
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    if (performance.now() - interruptedAt > SAME_INTERRUPT_MS) process.exit(INTERRUPTED)
    if (interrupt.signal.aborted) return
    interruptedAt = performance.now()
    progress('interrupted: removing what was made; once more to end at once')
    interrupt.abort()
  })

try {
  const cluster = await startCluster({ ...JSON.parse(place), cgroups: given.cgroups, progress })
  try {
    process.exitCode = await showPromises(cluster)
  } finally {
    await cluster.close()
  }
} catch (error) {
  console.error(`pod2iam test:kubernetes: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = interrupt.signal.aborted ? INTERRUPTED : 1
}
// An open connection must not keep this process, and with it the namespaces, alive.
process.exit()

async function showPromises(cluster: Cluster): Promise<number> {
  const options = optionsFor(cluster, given)
  const nodeNamed = (name: string) => {
    const node = cluster.nodes.find(({ plan }) => plan.name === name)
    if (node === undefined) throw new Error(`there is no node ${name}`)
    return node
  }
  const access = {
    ...openCluster(options),
    reboot: async (name: string) => {
      await nodeNamed(name).powerOff()
      await nodeNamed(name).powerOn()
    },
    runOnNode: (name: string, script: string) => nodeNamed(name).run(script),
  }
  try {
    const { verdicts, left } = await run({ access, options, signal: interrupt.signal, progress })
    console.log(tableOf(verdicts))
    for (const problem of left) console.log(`not removed: ${problem}`)
    const ended = cluster.ended()
    if (ended !== undefined) console.log(ended)
    if (interrupt.signal.aborted) return INTERRUPTED
    return left.length > 0 || ended !== undefined ? 1 : exitCodeOf(verdicts)
  } finally {
    await access.close()
  }
}

/** The operator's options, and where this cluster and its images are. */
function optionsFor({ kubeconfig }: Cluster, options: Options): Options {
  return {
    ...options,
    kubeconfig,
    imageRegistry: REGISTRIES[0],
    otherRegistry: REGISTRIES[1],
    imageTag: TAGS[0],
    otherTag: TAGS[1],
    mayReboot: true,
    waitSeconds: Math.max(options.waitSeconds, WAIT_SECONDS),
  }
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`)
}
