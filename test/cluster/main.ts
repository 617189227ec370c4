/**
 * `npm run test:cluster`: shows the product's promises on the cluster of a kubeconfig, prints them as a table, and removes
 * everything it made; exit code 1 when a promise is broken. `-- --dry` does the same in the sandbox. See README.md for the rest.
 */
import { buildAll } from '../../build.ts'
import { settingsOrExit } from '../../common/settings.ts'
import { openDryCluster } from './access/dry.ts'
import { openCluster } from './access/real.ts'
import { realAws } from './aws/real.ts'
import { cleanUp, runsLeft } from './cleanup.ts'
import { dryOptions } from './dry-options.ts'
import { OPTIONS, type Options } from './options.ts'
import { NO_ROLE, run, type World } from './run.ts'
import { exitCodeOf, tableOf } from './table.ts'

const INTERRUPTED = 130
const SAME_INTERRUPT_MS = 1000

const given = settingsOrExit('pod2iam test:cluster', OPTIONS)
const interrupt = new AbortController()
let interruptedAt = Number.POSITIVE_INFINITY
// The second Ctrl-C ends the test at once, and leaves cleaning up to --clean. The first one arrives twice: from the terminal, which sends
// it to all processes, and from the process that started this one.
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    if (performance.now() - interruptedAt > SAME_INTERRUPT_MS) process.exit(INTERRUPTED)
    if (interrupt.signal.aborted) return
    interruptedAt = performance.now()
    progress('interrupted: removing what was made; once more to leave it')
    interrupt.abort()
  })

try {
  process.exitCode = await main(given.dry ? dryOptions(given) : given)
} catch (error) {
  console.error(`pod2iam test:cluster: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}

async function main(options: Options): Promise<number> {
  if (options.dry) await buildAll('dist')
  const access = options.dry ? await openDryCluster(options) : openCluster(options)
  const world: World = { access, options, signal: interrupt.signal, progress }
  try {
    if (options.clean) return await clean(world)
    const { verdicts, left } = await run(world)
    console.log(tableOf(verdicts))
    for (const problem of left) console.log(`not removed: ${problem}; try again with --clean`)
    if (interrupt.signal.aborted) return INTERRUPTED
    return left.length > 0 ? 1 : exitCodeOf(verdicts)
  } finally {
    await access.close()
  }
}

/** Removes what killed runs have left. */
async function clean({ access, options }: World): Promise<number> {
  const problems: string[] = []
  const runs = await runsLeft(access)
  for (const id of runs)
    problems.push(...(await cleanUp({ access, options, progress, aws: realAws(NO_ROLE, ''), run: { id } })))
  for (const problem of problems) console.log(`not removed: ${problem}`)
  console.log(`${runs.length} earlier run(s) found`)
  return problems.length > 0 ? 1 : 0
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`)
}
