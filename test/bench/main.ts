/**
 * `npm run bench COMPONENT [-- --json FILE --plot DIRECTORY --only PATTERN]`: measures a built component on this machine and
 * prints a table. `--json` writes the same figures to a file, and `--plot` draws curves of those over the size of a node
 * (firewall). With `--only`, a regular expression, only the parts whose name it matches are measured (firewall, by
 * name; broker: usual, large; sidecar: usual, cpu, starved, start on a busy node, kube2iam; injector: `reviews`, `worst reviews`, `attack`, `rollouts`, or a watch by its name). A missed target
 * does not fail the run, which is a measurement and not a test.
 *
 * `npm run bench -- --plot [DIRECTORY]`, without a component, measures nothing: it draws the plots at the head of
 * docs/benchmarks.md from the tables of that page, into docs/plots.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { argumentsOrExit } from '../support/arguments.ts'
import { benchBroker } from './broker/bench.ts'
import { benchFirewall } from './firewall/bench.ts'
import { sizePlots } from './firewall/size-plot.ts'
import { benchInjector } from './injector/bench.ts'
import { machine } from './machine.ts'
import { type Bench, tableOf } from './report.ts'
import { benchSidecar } from './sidecar/bench.ts'
import { summaryPlots } from './summary-plots.ts'

const BENCHES: Readonly<Record<string, Bench>> = {
  broker: benchBroker,
  firewall: benchFirewall,
  sidecar: benchSidecar,
  injector: benchInjector,
}

const [first, directory, ...others] = process.argv.slice(2)
if (first === '--plot' && others.length === 0) {
  writePlots(directory ?? fileURLToPath(new URL('../../docs/plots/', import.meta.url)), summaryPlots())
  process.exit(0)
}

const USAGE = `Usage: npm run bench COMPONENT [-- --json FILE --plot DIRECTORY --only PATTERN], COMPONENT: ${Object.keys(BENCHES).join(', ')}; or npm run bench -- --plot [DIRECTORY] for the plots of docs/benchmarks.md`
const { values, positionals } = argumentsOrExit(USAGE, {
  options: { json: { type: 'string' }, only: { type: 'string' }, plot: { type: 'string' } },
  allowPositionals: true,
})
const [word = ''] = positionals
const bench = Object.hasOwn(BENCHES, word) ? BENCHES[word] : undefined
if (bench === undefined || positionals.length !== 1) {
  console.error(USAGE)
  process.exit(2)
}
const started = new Date()
const only = new RegExp(values.only ?? '')
const figures = await bench(
  (what) => process.stderr.write(`${word}: ${what}\n`),
  (part) => only.test(part),
)
const report = { component: word, date: started.toISOString().slice(0, 10), machine: machine(), figures }
console.log(`\n${Object.values(report.machine).join(', ')}; ${report.date}\n\n${tableOf(figures)}`)
if (values.plot !== undefined) writePlots(values.plot, sizePlots(figures))
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`)

function writePlots(directory: string, plots: Readonly<Record<string, string>>): void {
  mkdirSync(directory, { recursive: true })
  for (const [name, text] of Object.entries(plots)) writeFileSync(join(directory, name), text)
}
