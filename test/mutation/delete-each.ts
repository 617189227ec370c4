import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import type { Clock } from '../../common/clock.ts'
import { type Deletion, deletions, without } from './statements.ts'

type Job = { readonly file: string; readonly tests: readonly string[]; readonly deletion: Deletion }
type Ended = { readonly ok: boolean; readonly isLate: boolean; readonly output: string }

export type Options = {
  /** The directory of the project. It is copied, so that nothing is written there. */
  readonly project: string
  /** Source files, and the test files of each, relative to the project. */
  readonly targets: Readonly<Record<string, readonly string[]>>
  /** The command that checks types, and what else the whole project must satisfy. */
  readonly types: readonly [string, ...string[]]
  /** After how many milliseconds a run of tests is ended. A mutant that hangs counts as noticed, and is counted. */
  readonly timeoutMs: number
  readonly workers: number
  readonly clock: Pick<Clock, 'after'>
  readonly print: (line: string) => void
}

/** Directories that neither the tests nor the types need. */
const LEFT_OUT = new Set(['node_modules', '.git', 'dist'])

/**
 * Deletes one statement after another from the sources, and runs tests and types for each.
 * @returns how many deletions there were, those that nothing noticed, and how many were noticed only because a run did not end in time
 * @throws if tests or types fail although nothing is deleted: then they would notice everything
 */
export async function deleteEach({
  project,
  targets,
  types,
  timeoutMs,
  workers,
  clock,
  print,
}: Options): Promise<{ total: number; survivors: readonly Job[]; late: number }> {
  const jobs = Object.entries(targets).flatMap(([file, tests]): Job[] =>
    deletions(readFileSync(join(project, file), 'utf8')).map((deletion) => ({ file, tests, deletion })),
  )
  const survivors: Job[] = []
  let late = 0
  const total = jobs.length
  const inTime = (onLate: () => void) => clock.after(timeoutMs, onLate)
  const test = (copy: string, tests: readonly string[]) =>
    run(copy, [process.execPath, '--test', '--test-reporter=tap', ...tests], inTime, /^ *not ok /m)

  async function checkUnchanged(copy: string): Promise<void> {
    const lists = new Map(Object.values(targets).map((tests) => [tests.join(' '), tests]))
    for (const [name, tests] of lists) {
      const { ok, output } = await test(copy, tests)
      if (!ok) throw new Error(`these tests fail although nothing is deleted: ${name}\n${output}`)
    }
    const { ok, output } = await run(copy, types, inTime)
    if (!ok) throw new Error(`${types.join(' ')} fails although nothing is deleted\n${output}`)
  }

  async function isNoticed(copy: string, { file, tests, deletion }: Job): Promise<boolean> {
    const path = join(copy, file)
    const source = readFileSync(path, 'utf8')
    writeFileSync(path, without(source, deletion))
    try {
      // Types are checked last, since for most deletions a test fails before they would be checked.
      for (const check of [() => test(copy, tests), () => run(copy, types, inTime)]) {
        const { ok, isLate } = await check()
        if (isLate) late++
        if (!ok) return true
      }
      return false
    } finally {
      writeFileSync(path, source)
    }
  }

  async function work(copy: string): Promise<void> {
    for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) {
      if (!(await isNoticed(copy, job))) {
        survivors.push(job)
        print(`✖ nobody notices when ${job.file}:${job.deletion.from} is gone: ${job.deletion.what}`)
      }
      if (jobs.length % 50 === 0) print(`${jobs.length} to go`)
    }
  }

  print(`${total} deletions in ${Object.keys(targets).length} files`)
  const copies = Array.from({ length: workers }, () => copyOf(project))
  try {
    await checkUnchanged(copies[0] ?? '')
    await Promise.all(copies.map(work))
  } finally {
    for (const copy of copies) rmSync(copy, { recursive: true })
  }
  return { total, survivors, late }
}

function copyOf(project: string): string {
  const copy = mkdtempSync(join(tmpdir(), 'pod2iam-mutation-'))
  cpSync(project, copy, { recursive: true, filter: (path) => !LEFT_OUT.has(relative(project, path)) })
  symlinkSync(join(project, 'node_modules'), join(copy, 'node_modules'))
  return copy
}

/**
 * @param inTime calls its argument when the run is to be ended, until it is cancelled
 * @param failure what in its output says that it will fail, so that it is ended at once
 */
function run(
  cwd: string,
  [command = '', ...args]: readonly string[],
  inTime: (onLate: () => void) => () => void,
  failure?: RegExp,
): Promise<Ended> {
  // It has its own process group, because a test file that hangs is a grandchild. In a test's context it would run no tests.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  const end = () => child.pid !== undefined && child.exitCode === null && process.kill(-child.pid, 'SIGKILL')
  let isLate = false
  const cancel = inTime(() => {
    isLate = true
    end()
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
      if (failure?.test(output)) end()
    })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => {
      cancel()
      resolve({ ok: code === 0, isLate, output })
    })
  })
}
