/**
 * `npm run demo`: the product doing its job, as a story that is also a test (exit code 1 when a step did not show
 * what it should).
 *
 *   npm run demo                          plays it and cleans up
 *   npm run demo -- --loopback            plays what needs no namespaces, as on a machine without them
 *   npm run demo -- --keep                plays it and leaves it running
 *   npm run demo -- exec POD -- CMD…      runs a command in a pod of the one left running
 *   npm run demo -- stop                  ends that one
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { buildAll } from '../../build.ts'
import { namespaceSupport } from '../sandbox/index.ts'
import { showResilience } from './attack.ts'
import { ask, keep, LIFETIME_HOURS, refuseSecond } from './kept.ts'
import { playOnLoopback } from './loopback.ts'
import { createOutput, type Output } from './output.ts'
import { openStage, PROJECT, type Stage } from './stage.ts'
import { applyWorkload, showCredentials, showInjection, showLogs, showOthers } from './story.ts'

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
    case '--loopback':
      return await play(print, async (stage) => stage.close(), 'asked for by --loopback')
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
      throw new Error(`"${command}" is not known; there are --loopback, --keep, exec POD -- CMD and stop`)
  }
}

/** Plays the story. `after` gets the stage when it is over. */
async function play(
  write: (line: string) => void,
  after: (stage: Stage, code: number) => Promise<void>,
  noNamespaces?: string,
) {
  const started = performance.now()
  const out = createOutput(write, process.stdout.isTTY === true && process.env.NO_COLOR === undefined)
  await buildAll(`${PROJECT}dist`)
  const support = namespaceSupport()
  if (support.kind === 'none' || noNamespaces !== undefined) {
    await playOnLoopback(out, support.kind === 'none' ? support.reason : (noNamespaces ?? ''))
    return conclude(out, write, started)
  }
  write('pod2iam: AWS, a Kubernetes API server and a node, in network namespaces of this machine …')
  const stage = await openStage()
  write(`… up, with pod2iam installed, after ${seconds(started)} s.`)
  for (const limit of stage.limits) out.leftOut(limit, 'without root')
  let code = 1
  try {
    await playSteps(stage, out)
    code = conclude(out, write, started)
  } catch (error) {
    write(await stage.allLogs())
    throw error
  } finally {
    await after(stage, code)
  }
  return code
}

async function playSteps(stage: Stage, out: Output): Promise<void> {
  const pod = await applyWorkload(stage, out)
  await showInjection(stage, out, pod)
  const key = await showCredentials(stage, out, pod)
  await showLogs(stage, out, pod)
  const plain = await showOthers(stage, out, key)
  await showResilience(stage, out, pod, plain, key)
}

function conclude({ failures, omissions }: Output, write: (line: string) => void, started: number): number {
  write('')
  for (const failure of failures) write(`NOT SHOWN: ${failure}`)
  const left = omissions.length > 0 ? ` Left out on this machine: ${omissions.join('; ')}.` : ''
  write(
    failures.length === 0
      ? `Everything shown, in ${seconds(started)} s.${left}`
      : `${failures.length} not shown.`,
  )
  return failures.length === 0 ? 0 : 1
}

/**
 * The story in a process of its own that goes on when this one has printed it. It holds neither our output nor our
 * errors open, so that a pipe behind us ends with us.
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
      await send({
        line: `\nLeft running. Pods: ${names.join(', ')}. Run a command in one, and end it all, with`,
      })
      await send({
        line: `  npm run demo -- exec ${names[0]} -- curl -s http://169.254.169.254/latest/meta-data/`,
      })
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
