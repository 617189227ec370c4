/** The built broker as a process of its own, between the sandbox's API server and AWS, and pods that call it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { buildComponent } from '../../../build.ts'
import { NODE, type TestPod, World } from '../../broker/world.ts'
import { BROKER_NODE_FLAGS } from '../../sandbox/install.ts'
import { freePort } from '../../support/free-port.ts'
import { eventually } from '../../support/until.ts'
import { memoryOf } from '../memory.ts'

export type Workshop = { readonly world: World; readonly bundle: string }

export type BrokerProcess = {
  readonly child: ChildProcess
  readonly port: number
  /** Highest private dirty memory seen so far, MiB; sampled every 20 ms. */
  readonly peak: () => number
  readonly end: () => Promise<void>
}

export async function openWorkshop(): Promise<Workshop> {
  const world = await World.start()
  const bundle = join(world.directory, 'broker.cjs')
  await buildComponent('broker', bundle)
  return { world, bundle }
}

/**
 * Starts a broker as its container does and waits until it is ready.
 *
 * @param options `flags` of node instead of the image's; `cgroupProcs` starts it inside that cgroup
 */
export async function spawnBroker(
  { world, bundle }: Workshop,
  options: { flags?: readonly string[]; args?: readonly string[]; cgroupProcs?: string } = {},
): Promise<BrokerProcess> {
  const { flags = BROKER_NODE_FLAGS, args = [], cgroupProcs } = options
  const [port, healthPort] = [await freePort(), await freePort()]
  const command = [
    ...[process.execPath, ...flags, bundle, '--node-name', NODE, '--kubeconfig', world.kubeconfig],
    ...['--listen', '127.0.0.1', '--port', String(port), '--health-port', String(healthPort)],
    ...['--state-dir', join(world.directory, 'state'), ...args],
  ]
  const [file = '', ...rest] =
    cgroupProcs === undefined
      ? command
      : ['/bin/sh', '-c', 'echo $$ > "$0" && exec "$@"', cgroupProcs, ...command]
  const env = { PATH: process.env.PATH, ...world.aws.environment() }
  const child = spawn(file, rest, { env, stdio: ['ignore', 'ignore', 'inherit'] })
  const closed = once(child, 'close')
  let peak = 0
  const sampler = setInterval(() => {
    try {
      peak = Math.max(peak, memoryOf(child.pid ?? 0).privateDirty)
    } catch {
      // It does not exist yet, or no longer.
    }
  }, 20)
  const end = async () => {
    clearInterval(sampler)
    child.kill('SIGKILL')
    await closed
  }
  try {
    await eventually('a ready broker', async () => (await statusOf(healthPort)) === 200, {
      deadlineMs: 20_000,
    })
  } catch (error) {
    await end()
    throw error
  }
  return { child, port, peak: () => peak, end }
}

/** How long a sidecar waits for one answer. */
const PATIENCE_MS = 10_000

/** What one pod went through until it had credentials. */
export type Wait = { readonly milliseconds: number; readonly tries: number }

/** Requests as a sidecar does, until there are credentials: again at once after 503 or a lost connection, for up to `patience` ms. */
export async function askUntilGiven(port: number, pod: TestPod, patience = 30_000): Promise<Wait> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const start = performance.now()
  try {
    for (let tries = 1; ; tries++) {
      const status = await ask(port, pod, agent)
      const milliseconds = performance.now() - start
      if (status === 200) return { milliseconds, tries }
      if ((status !== 503 && status !== 0) || milliseconds > patience)
        throw new Error(`${pod.name} was answered ${status}`)
      await sleep(100)
    }
  } finally {
    agent.destroy()
  }
}

function ask(port: number, { ip, token }: TestPod, agent: Agent): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>()
  const headers = { authorization: `Bearer ${token}` }
  request(
    {
      ...{ host: '127.0.0.1', port, localAddress: ip, agent, headers, path: '/v1/credentials' },
      signal: AbortSignal.timeout(PATIENCE_MS),
    },
    (response) => {
      // An aborted response emits `close` without `end`; the first of the two counts.
      response
        .resume()
        .once('end', () => resolve(response.statusCode ?? 0))
        .once('close', () => resolve(0))
    },
  )
    // A sidecar retries, too.
    .once('error', () => resolve(0))
    .end()
  return promise
}

function statusOf(port: number): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>()
  request({ host: '127.0.0.1', port, path: '/readyz', agent: false }, (response) => {
    response.resume()
    resolve(response.statusCode ?? 0)
  })
    .once('error', () => resolve(0))
    .end()
  return promise
}
