/** Sidecars and brokers of both releases as processes. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import type { Container } from './admitted.ts'
import type { Releases, Side } from './releases.ts'

type Line = Readonly<Record<string, unknown>> & { readonly msg?: string }

export type Running = {
  readonly child: ChildProcess
  readonly port: number
  readonly healthPort: number
  readonly logs: readonly Line[]
  readonly readyz: () => Promise<{ ready: boolean; code: string; detail?: string }>
}

function start(argv: readonly string[], env: Readonly<Record<string, string>>) {
  const child = spawn(process.execPath, argv, { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const logs: Line[] = []
  createInterface({ input: child.stdout }).on('line', (line) => logs.push(JSON.parse(line)))
  const readyz = (healthPort: number) => async () => {
    if (child.exitCode !== null) throw new Error(`${argv[0]} ended with ${child.exitCode}`)
    const answer = await fetch(`http://127.0.0.1:${healthPort}/readyz`).catch(() => undefined)
    return answer === undefined
      ? { ready: false, code: 'not-listening' }
      : ((await answer.json()) as { ready: boolean; code: string })
  }
  return { child, logs, readyz }
}

/** Starts a broker of a release, which listens on `port` at 127.0.0.77. */
export async function startBroker(
  releases: Releases,
  side: Side,
  env: Readonly<Record<string, string>>,
  flags: readonly string[],
): Promise<Running> {
  const [port, healthPort] = [await freePort(), await freePort()]
  const { child, logs, readyz } = start(
    [
      releases.file(side, 'broker'),
      '--listen=127.0.0.77',
      `--port=${port}`,
      `--health-port=${healthPort}`,
      ...flags,
    ],
    env,
  )
  const running = { child, logs, port, healthPort, readyz: readyz(healthPort) }
  await until(`the broker of ${side} is ready`, async () => (await running.readyz()).ready)
  return running
}

/** Starts a sidecar of a release with the environment of an admitted container, except for values that depend on a real pod. */
export async function startSidecar(
  releases: Releases,
  side: Side,
  { env = [] }: Container,
  { directory, token, brokerUrl }: { directory: string; token: string; brokerUrl: string },
): Promise<Running> {
  const own = mkdtempSync(join(directory, 'sidecar-'))
  writeFileSync(join(own, 'token'), token)
  const second = 'POD2IAM_WEB_IDENTITY_TOKEN_FILE'
  const { child, logs, readyz } = start([releases.file(side, 'sidecar')], {
    ...Object.fromEntries(env.map(({ name, value = '' }) => [name, value])),
    POD2IAM_BROKER_URL: brokerUrl,
    POD2IAM_TOKEN_FILE: join(own, 'token'),
    ...(env.some(({ name }) => name === second) ? { [second]: join(own, 'token') } : {}),
    POD2IAM_STATE_DIR: own,
    POD2IAM_LISTEN_PORT: '0',
    POD2IAM_HEALTH_PORT: '0',
    POD2IAM_SELF_TEST: 'off',
    // The log line with its ports has this level.
    POD2IAM_LOG_LEVEL: 'info',
  })
  const listening = await until(`the sidecar of ${side} listens`, () => {
    if (child.exitCode !== null) throw new Error(`the sidecar of ${side} ended: ${JSON.stringify(logs)}`)
    return logs.find(({ msg }) => msg === 'listening')
  })
  const healthPort = Number(listening.healthPort)
  return { child, logs, port: Number(listening.port), healthPort, readyz: readyz(healthPort) }
}
