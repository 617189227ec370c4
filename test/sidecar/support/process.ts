/** The built sidecar as a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { buildComponent } from '../../../build.ts'
import type { LogLine } from '../../support/log.ts'
import { until } from '../../support/until.ts'

export type SidecarProcess = {
  readonly child: ChildProcess
  readonly port: number
  readonly healthPort: number
  readonly logs: LogLine[]
  /** Sends a signal and resolves with the exit code (or the signal that ended it). */
  readonly end: (signal?: NodeJS.Signals) => Promise<number | string | null>
}

/** A directory for one test file: the bundle, a token file, state directories. Removed by `remove`. */
export type Workshop = {
  readonly directory: string
  readonly bundle: string
  readonly tokenFile: string
  readonly remove: () => void
}

export async function openWorkshop(): Promise<Workshop> {
  const directory = mkdtempSync(join(tmpdir(), 'pod2iam-sidecar-'))
  const bundle = join(directory, 'sidecar.cjs')
  const tokenFile = join(directory, 'token')
  writeFileSync(tokenFile, 'the.service-account.token')
  await buildComponent('sidecar', bundle)
  return { directory, bundle, tokenFile, remove: () => rmSync(directory, { recursive: true, force: true }) }
}

/** Environment of a sidecar on loopback: free ports, no redirect. */
export function loopbackEnv(workshop: Workshop, brokerUrl: string) {
  return {
    POD2IAM_BROKER_URL: brokerUrl,
    POD2IAM_TOKEN_FILE: workshop.tokenFile,
    POD2IAM_LISTEN_PORT: '0',
    POD2IAM_HEALTH_PORT: '0',
    POD2IAM_SELF_TEST: 'off',
    POD2IAM_STATE_DIR: mkdtempSync(join(workshop.directory, 'state-')),
  }
}

/** Starts the sidecar and waits until it listens, or with `ready` until its gate would open. */
export async function startProcess(
  workshop: Workshop,
  env: Readonly<Record<string, string>>,
  options: { ready?: boolean } = {},
): Promise<SidecarProcess> {
  const child = spawn(process.execPath, [workshop.bundle], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const logs: LogLine[] = []
  createInterface({ input: child.stdout }).on('line', (line) => logs.push(JSON.parse(line)))
  const closed = once(child, 'close')
  try {
    const listening = await until('the sidecar listens', () => {
      if (child.exitCode !== null) throw new Error(`the sidecar ended: ${JSON.stringify(logs)}`)
      return logs.find(({ msg }) => msg === 'listening')
    })
    const port = Number(listening.port)
    const healthPort = Number(listening.healthPort)
    if (options.ready) await until('the sidecar is ready', async () => (await readyz(healthPort)).ready)
    const end = async (signal: NodeJS.Signals = 'SIGTERM') => {
      child.kill(signal)
      await closed
      return child.exitCode ?? child.signalCode
    }
    return { child, port, healthPort, logs, end }
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
}

export async function readyz(
  port: number,
): Promise<{ status: number; ready: boolean; code: string; detail?: string }> {
  const response = await fetch(`http://127.0.0.1:${port}/readyz`)
  return { status: response.status, ...((await response.json()) as { ready: boolean; code: string }) }
}
