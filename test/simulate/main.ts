/**
 * `npm run simulate [-- --nodes N --pods N --share N --only NAME --out DIRECTORY …]`: runs a fleet in simulated time with the product's own
 * code. Prints the tables of docs/scale.md and, with `--out`, writes the plots there. Two scenarios run at a time.
 */
import { fork } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { argumentsOrExit } from '../support/arguments.ts'
import { simulate } from './fleet.ts'
import type { Fleet } from './fleet-size.ts'
import { PAGE_FLEET } from './options.ts'
import { plotsOf } from './plots.ts'
import { SCENARIOS } from './scenarios.ts'
import { type Summary, summary } from './summary.ts'
import { apiTable, parameters, podTable, stsTable } from './tables.ts'

type Done = { readonly result: Summary; readonly megabytes: number }
type Task = { readonly name: string; readonly fleet: Fleet }

/** Memory for the largest fleet in full, whose pods' objects alone are more than a gigabyte; a tenth of it needs less than one. */
const HEAP_MB = 7000

async function run({ name, fleet }: Task): Promise<Summary> {
  const scenario = SCENARIOS.find((one) => one.name === name)
  if (!scenario) throw new Error(`there is no scenario ${name}`)
  const own = { ...fleet, ...scenario.fleet }
  return summary(scenario, own, await simulate(own, scenario))
}

/** Each runs in a process of its own, because worker threads are several times slower at collecting so much garbage. */
function inProcess(task: Task): Promise<Done> {
  const child = fork(new URL(import.meta.url), [JSON.stringify(task)], {
    execArgv: [`--max-old-space-size=${HEAP_MB}`, '--max-semi-space-size=64'],
  })
  return new Promise((resolve, reject) => {
    child.once('message', (message) => resolve(message as Done))
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`${task.name} ended with ${code} and no result`)))
  })
}

/** Scenarios change a tenth of the nodes, so there must be at least ten. */
function isPossible(fleet: Fleet): boolean {
  const simulated = fleet.nodes / fleet.share
  const { podsPerNode, stsPerSecond, share } = fleet
  return (
    Number.isInteger(simulated) &&
    simulated >= 10 &&
    [podsPerNode, stsPerSecond, share].every((value) => value > 0)
  )
}

const USAGE =
  'Usage: npm run simulate [-- --nodes N --pods N --quota N --qps N --token SECONDS --share N --only NAME --out DIRECTORY]'

async function main(): Promise<void> {
  const { values } = argumentsOrExit(USAGE, {
    options: {
      nodes: { type: 'string', default: String(PAGE_FLEET.nodes) },
      pods: { type: 'string', default: String(PAGE_FLEET.podsPerNode) },
      quota: { type: 'string', default: String(PAGE_FLEET.stsPerSecond) },
      qps: { type: 'string', default: String(PAGE_FLEET.stsQps) },
      token: { type: 'string', default: String(PAGE_FLEET.tokenSeconds) },
      share: { type: 'string', default: String(PAGE_FLEET.share) },
      only: { type: 'string' },
      out: { type: 'string' },
    },
  })
  const fleet: Fleet = {
    ...PAGE_FLEET,
    nodes: Number(values.nodes),
    podsPerNode: Number(values.pods),
    stsPerSecond: Number(values.quota),
    stsQps: Number(values.qps),
    tokenSeconds: Number(values.token),
    share: Number(values.share),
  }
  const asked = values.only?.split(',') ?? SCENARIOS.map(({ name }) => name)
  const unknown = asked.find((name) => !SCENARIOS.some((scenario) => scenario.name === name))
  if (unknown !== undefined || !isPossible(fleet)) {
    console.error(
      `Usage: npm run simulate [-- --nodes N --pods N --quota N --qps N --token SECONDS --share N --only NAME,… --out DIRECTORY]; names: ${SCENARIOS.map(({ name }) => name).join(', ')}. Of the nodes, one in --share is simulated; these must be a whole number of at least ten.`,
    )
    process.exit(2)
  }
  const waiting = [...asked]
  const done = new Map<string, Summary>()
  const runAll = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const started = performance.now()
      const { result, megabytes } = await inProcess({ name, fleet })
      done.set(name, result)
      const seconds = Math.round((performance.now() - started) / 1000)
      process.stderr.write(`${name}: ${seconds} s, ${Math.round(megabytes)} MB\n`)
    }
  }
  await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, runAll))
  const summaries = asked.flatMap((name) => done.get(name) ?? [])
  console.log(`${parameters(fleet)}\n`)
  for (const table of [podTable, stsTable, apiTable]) console.log(`${table(summaries)}\n`)
  if (values.out !== undefined) {
    mkdirSync(values.out, { recursive: true })
    for (const [file, content] of plotsOf(summaries)) writeFileSync(join(values.out, file), content)
  }
  const neglected = summaries.reduce((sum, { figures }) => sum + figures.neglected + figures.stale, 0)
  if (neglected > 0) {
    console.error(`${neglected} pods had credentials that expired although they could have been renewed`)
    process.exit(1)
  }
}

if (process.send === undefined) await main()
else {
  const result = await run(JSON.parse(process.argv[2] ?? ''))
  process.send({ result, megabytes: process.resourceUsage().maxRSS / 1024 } satisfies Done)
  process.disconnect()
}
