/**
 * `npm run demo`: the product at work, as a story that is also a test: the exit code is 1 if a step does not show what it should.
 * `npm run demo -- --help` lists the other commands.
 */
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { buildAll } from '../../build.ts'
import { namespaceSupport } from '../sandbox/index.ts'
import { showResilience } from './attack.ts'
import { conclusion } from './conclusion.ts'
import { showWebIdentity } from './federation.ts'
import { fold, foldCommand } from './fold.ts'
import { ask, keep, LIFETIME_HOURS, refuseSecond } from './kept.ts'
import { playOnLoopback } from './loopback.ts'
import { createOutput, type Output } from './output.ts'
import { type RecordedLine, recordingSvg } from './recording.ts'
import { openStage, PROJECT, type Stage } from './stage.ts'
import { applyWorkload, showCredentials, showInjection, showLogs, showOthers } from './story.ts'

const HELP = `pod2iam demo: the product at work on this machine, in less than a minute.

AWS, a Kubernetes API server and a node are made of network namespaces, and
taken away at the end; nothing of yours is changed. As root on Linux you see
everything; elsewhere it shows what it can, and lists what it left out.

  npm run demo                       play it and clean up
  npm run demo -- --keep             play it and leave it running
  npm run demo -- exec POD -- CMD    run a command in a pod of one left running
  npm run demo -- stop               end the one left running
  npm run demo -- --record FILE.svg  play it and record it as an animated SVG
  npm run demo -- --web-identity     play a seventh step: roles that root on
                                     a node cannot assume
  npm run demo -- --loopback         play only what needs no namespaces
  npm run demo -- --help             this text

Exit code: 0 if everything was shown, 1 if not. NO_COLOR=1 switches colours
off. docs/demo.md says what each step shows.`

const [command, ...rest] = process.argv.slice(2)

try {
  process.exitCode = await run()
} catch (error) {
  const sentence = `pod2iam demo: ${error instanceof Error ? error.message : String(error)}`
  if (process.send) process.send({ line: sentence })
  else console.error(sentence)
  process.exitCode = 1
}

async function run(): Promise<number> {
  switch (command) {
    case undefined:
      return await play(print, async (stage) => stage.close())
    case '--help':
    case '-h':
      print(HELP)
      return 0
    case '--web-identity':
      return await play(print, async (stage) => stage.close(), { webIdentity: true })
    case '--loopback':
      return await play(print, async (stage) => stage.close(), { noNamespaces: 'asked for by --loopback' })
    case '--record':
      return await record(rest)
    case '--keep':
      await refuseSecond()
      return await playInBackground()
    case 'kept':
      return await playKept()
    case 'exec':
      return await execInPod(rest)
    case 'stop':
      await ask('/stop', {})
      return 0
    default:
      throw new Error(
        `"${command}" is not known; there are --web-identity, --loopback, --keep, --record FILE, --help, exec POD -- CMD and stop`,
      )
  }
}

type PlayOptions = {
  /** Why nothing that needs network namespaces is shown. */
  readonly noNamespaces?: string
  readonly color?: boolean
  /** Whether the seventh step is played. */
  readonly webIdentity?: boolean
}

/** Plays the story, and then passes the stage to `after`. */
async function play(
  write: (line: string) => void,
  after: (stage: Stage, code: number) => Promise<void>,
  options: PlayOptions = {},
) {
  const { noNamespaces, webIdentity = false } = options
  const { color = process.stdout.isTTY === true && process.env.NO_COLOR === undefined } = options
  const started = performance.now()
  const out = createOutput(write, color)
  await buildAll(`${PROJECT}dist`)
  const support = namespaceSupport()
  if (support.kind === 'none' || noNamespaces !== undefined) {
    await playOnLoopback(out, support.kind === 'none' ? support.reason : (noNamespaces ?? ''))
    return conclude(out, write, started, true)
  }
  write('pod2iam: making AWS, a Kubernetes API server and a node, of namespaces …')
  const stage = await openStage(webIdentity)
  write(`… up, with pod2iam installed, after ${seconds(started)} s.`)
  for (const limit of stage.limits) out.leftOut(limit, 'without root')
  let code = 1
  try {
    await playSteps(stage, out)
    if (webIdentity) await showWebIdentity(stage, out)
    code = conclude(out, write, started)
  } catch (error) {
    write(await stage.allLogs())
    throw error
  } finally {
    await after(stage, code)
  }
  return code
}

/** Plays the story and writes its output with the times as the picture of the README. A failed run is not written. */
async function record([file, ...more]: string[]): Promise<number> {
  if (file === undefined || more.length > 0) throw new Error('write: npm run demo -- --record FILE.svg')
  const started = performance.now()
  const lines: RecordedLine[] = []
  const write = (line: string) => {
    lines.push({ at: performance.now() - started, text: line })
    print(line)
  }
  const code = await play(write, async (stage) => stage.close(), { color: true })
  if (code !== 0) return code
  writeFileSync(file, recordingSvg({ command: 'npm run demo', lines }))
  return 0
}

async function playSteps(stage: Stage, out: Output): Promise<void> {
  const pod = await applyWorkload(stage, out)
  await showInjection(stage, out, pod)
  const key = await showCredentials(stage, out, pod)
  await showLogs(stage, out, pod)
  const plain = await showOthers(stage, out, key)
  await showResilience(stage, out, pod, plain, key)
}

function conclude(out: Output, write: (line: string) => void, started: number, loopback = false): number {
  write('')
  for (const text of conclusion(out, `${seconds(started)} s`, loopback))
    for (const line of fold(text, '', '')) write(line)
  return out.failures.length === 0 ? 0 : 1
}

/**
 * Plays the story in a separate process, which continues when this one has printed it. That process does not keep our standard
 * output or standard error open, so that a pipe from us ends together with us.
 */
async function playInBackground(): Promise<number> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), 'kept'], {
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  child.on('message', (message: { line?: string }) => {
    if (message.line !== undefined) print(message.line)
  })
  const code = await new Promise<number>((resolve) => {
    child.on('message', (message: { done?: number }) => message.done !== undefined && resolve(message.done))
    child.on('exit', (status) => resolve(status ?? 1))
  })
  if (child.connected) child.disconnect()
  child.unref()
  return code
}

async function playKept(): Promise<number> {
  const send = (message: { line: string } | { done: number }) =>
    new Promise<void>((resolve) => process.send?.(message, () => resolve()))
  return await play(
    (line) => void send({ line }),
    async (stage, code) => {
      const stopped = await keep(stage).catch(async (error) => {
        await stage.close()
        throw error
      })
      const { items } = await stage.kube.list('pods')
      const names = items.map(({ metadata }) => metadata.name).filter((name) => !name?.startsWith('pod2iam-'))
      const left = `Left running. Pods: ${names.join(', ')}. Run a command in one, and end it all, with`
      const example = `npm run demo -- exec ${names[0]} -- curl -s http://169.254.169.254/latest/meta-data/`
      for (const line of ['', ...fold(left, '', ''), ...foldCommand(example, '  ')]) await send({ line })
      await send({ line: `  npm run demo -- stop       (it ends by itself after ${LIFETIME_HOURS} hours)` })
      await send({ done: code })
      await stopped()
      await stage.close()
    },
  )
}

async function execInPod([pod, dashes, ...argv]: string[]): Promise<number> {
  if (pod === undefined || dashes !== '--' || argv.length === 0)
    throw new Error('write: npm run demo -- exec POD -- CMD')
  const { error, stdout, stderr, code } = await ask('/exec', { pod, argv })
  if (error !== undefined) throw new Error(String(error))
  process.stdout.write(String(stdout))
  process.stderr.write(String(stderr))
  return Number(code)
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

function seconds(started: number): string {
  return ((performance.now() - started) / 1000).toFixed(1)
}
