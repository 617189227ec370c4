/**
 * `npm test [-- WORD…]`: lint, types, build, tests; prints the counts at the end. With words, only the test files whose
 * path contains one of them are run.
 */
import { spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { relative, resolve } from 'node:path'
import { run } from 'node:test'
import { buildAll } from '../build.ts'

/**
 * A file that takes longer is killed and named; the second limit is for the whole run. A file of the firewall
 * that takes half a minute alone takes four minutes when twenty others compete for the same two cores.
 */
const [TEST_MS, ALL_MS] = [30 * 60_000, 4 * 60 * 60_000]

type Outcome = { name: string; file: string; error?: unknown; reason?: string }

/**
 * The compile cache of test files and of the processes that they start: without it each would strip the types
 * from every file again, which is a quarter of its processor time. An entry is found by the content of its file, so a changed file
 * is compiled again.
 */
process.env.NODE_COMPILE_CACHE ??= resolve('node_modules/.cache/compiled')

const started = Date.now()
const words = process.argv.slice(2)

step(
  'lint',
  () =>
    command('biome', 'check', '--error-on-warnings', '.') &&
    command('oxlint') &&
    command('knip', '--no-progress'),
)
step('types', () => command('tsc', '-p', '.'))
await buildAll('dist')
console.log(`✔ build (dist/)`)

const files = globSync('test/**/*.test.ts')
  .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
  .sort()
const { passed, failed, skipped } = await runTests(files)

for (const { name, file, error } of failed) console.log(`\n✖ ${file}: ${name}\n${describe(error)}`)
if (skipped.length > 0) {
  console.log(`\nLeft out on this machine (${skipped.length}):`)
  for (const [reason, tests] of Map.groupBy(skipped, ({ reason }) => reason)) {
    console.log(`- ${reason} (${tests.length}):`)
    for (const { name, file } of tests) console.log(`  - ${file}: ${name}`)
  }
}
console.log(`\n${files.length} test files in ${Math.round((Date.now() - started) / 1000)} s`)
console.log(`tests: ${passed} passed, ${failed.length} failed, ${skipped.length} skipped`)
process.exit(failed.length > 0 || passed === 0 ? 1 : 0)

function step(name: string, action: () => boolean): void {
  if (!action()) {
    console.error(`✖ ${name} failed`)
    process.exit(1)
  }
  console.log(`✔ ${name}`)
}

function command(name: string, ...args: string[]): boolean {
  return spawnSync(name, args, { stdio: ['ignore', 'inherit', 'inherit'] }).status === 0
}

async function runTests(files: string[]) {
  const failed: Outcome[] = []
  const skipped: Outcome[] = []
  let passed = 0
  // Most tests wait for the kernel or for another process, so one file more than there are cores runs at a time.
  const stream = run({
    files,
    concurrency: availableParallelism() + 1,
    timeout: TEST_MS,
    signal: AbortSignal.timeout(ALL_MS),
  })
  stream.on('test:pass', ({ name, file = '', details, skip }) => {
    // A suite that is skipped as a whole does not report its tests.
    if (details.type === 'suite' && skip === undefined) return
    const path = relative(process.cwd(), file)
    if (skip !== undefined) skipped.push({ name, file: path, reason: String(skip) })
    else passed++
  })
  stream.on('test:fail', ({ name, file = '', details }) => {
    const { error } = details
    // A suite fails because a test in it failed, and that test was reported already.
    if (details.type === 'suite' && 'failureType' in error && error.failureType === 'subtestsFailed') return
    failed.push({ name, file: relative(process.cwd(), file), error: error.cause ?? error })
  })
  stream.on('test:summary', ({ file, success, counts, duration_ms }) => {
    if (file === undefined) return
    const path = relative(process.cwd(), file)
    console.log(`${success ? '✔' : '✖'} ${path} (${counts.passed}, ${(duration_ms / 1000).toFixed(1)} s)`)
  })
  stream.on('test:stderr', ({ message }) => process.stderr.write(message))
  await stream.resume().toArray()
  return { passed, failed, skipped }
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
