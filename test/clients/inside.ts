/**
 * Runs in its own network and mount namespace: two sidecars, a stand-in for the broker and one for AWS, and one client in each of
 * the given modes. It prints the results as one line of JSON.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { CONTAINER_CREDENTIALS_PATH, SIDECAR_PORT } from '../../common/addresses.ts'
import {
  json,
  loopbackEnv,
  METADATA,
  type SidecarProcess,
  startBroker,
  startProcess,
} from '../sidecar/support/index.ts'
import { makePodNetwork } from '../sidecar/support/pod-network.ts'
import { until } from '../support/until.ts'
import { MODES, MOUNT_POINT, type Mode, type ModeName, SECRET, STAND_IN } from './modes.ts'
import { startStandIn } from './stand-in.ts'

export type Seen = {
  /** The values that the client printed, by name. */
  readonly printed: Readonly<Record<string, string>>
  /** The access keys with which it signed requests. */
  readonly signed: readonly string[]
  /** The versions of IMDS with which it got an answer, or `container`. */
  readonly imds: readonly string[]
  readonly proxied: boolean
  /** Its output, which explains a failure. */
  readonly output: string
}

/** The document has everything that OpenTelemetry's detectors need. */
const IDENTITY_DOCUMENT = JSON.stringify({
  accountId: '111111111111',
  availabilityZone: 'eu-west-1b',
  instanceId: METADATA['instance-id'],
  instanceType: METADATA['instance-type'],
  region: 'eu-west-1',
})

/** This is longer than any client tries. */
const RUN_MS = 60_000

const [, , directory = '', bundle = '', tokenFile = '', given = ''] = process.argv
const workshop = { directory, bundle, tokenFile, remove: () => {} }
const { argv, env, modes } = JSON.parse(given) as {
  argv: [string, ...string[]]
  env: Record<string, string>
  modes: ModeName[]
}

const mountPoint = mkdtempSync(join(directory, 'mount-'))
const secretOf = (port: number) => join(mountPoint, '..', `secret-${process.pid}-${port}`)
let asked = 0
makePodNetwork()
const [broker, standIn] = await Promise.all([startBroker(), startStandIn()])
broker.metadata = json({
  ...METADATA,
  hostname: 'ip-10-0-0-10.eu-west-1.compute.internal',
  'dynamic/instance-identity/document': IDENTITY_DOCUMENT,
})
const start = (tokens: string, port: number) =>
  startProcess(
    workshop,
    {
      ...loopbackEnv(workshop, broker.url),
      POD2IAM_LISTEN_PORT: String(port),
      POD2IAM_IMDS_TOKENS: tokens,
      POD2IAM_CONTAINER_TOKEN_FILE: secretOf(port),
      POD2IAM_LOG_LEVEL: 'debug',
    },
    { ready: true },
  )
const [optional, required] = await Promise.all([start('optional', SIDECAR_PORT), start('required', 0)])
const sidecars = { optional, required }
try {
  const seen: Record<string, Seen> = {}
  for (const name of modes) seen[name] = await run(MODES[name])
  console.log(JSON.stringify(seen))
} finally {
  await Promise.all([optional.end('SIGKILL'), required.end('SIGKILL'), broker.close()])
  standIn.close()
}

async function run(mode: Mode): Promise<Seen> {
  const sidecar = sidecars[mode.tokens]
  const [logged, signed, proxied] = [sidecar.logs.length, standIn.signed.length, standIn.proxied.length]
  loadRules(mode, sidecar.port)
  const output = await runClient(mode, () => standIn.signed.length > signed)
  await logsOf(sidecar)
  return {
    printed: lastJson(output),
    signed: [...new Set(standIn.signed.slice(signed))],
    imds: served(sidecar, logged),
    proxied: standIn.proxied.length > proxied,
    output: output.slice(-1000),
  }
}

/** Runs the client until it ends or has signed a request, and returns its output. */
async function runClient(mode: Mode, hasSigned: () => boolean): Promise<string> {
  const [command, ...args] = argv.map(inPlace)
  const child = spawn(command ?? '', args, {
    env: Object.fromEntries(Object.entries({ ...env, ...mode.env }).map(([k, v]) => [k, inPlace(v)])),
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const written = Promise.all([text(child.stdout), text(child.stderr)])
  const closed = once(child, 'close').then(() => true)
  const deadline = Date.now() + RUN_MS
  while (!(await Promise.race([closed, sleep(20, false)]))) {
    if (Date.now() > deadline) endGroup(child, 'SIGKILL')
    // A signed request is proof enough. A mounted file system does not end by itself.
    else if (hasSigned()) endGroup(child, 'SIGTERM')
  }
  return (await written).join('')
}

/** Ends a client and its child processes, since some clients are scripts. */
function endGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function inPlace(text: string): string {
  return text
    .replace(STAND_IN, standIn.url)
    .replace(MOUNT_POINT, mountPoint)
    .replace(SECRET, secretOf(SIDECAR_PORT))
}

/** Waits until everything that the sidecar has logged so far has been received. */
async function logsOf({ port, logs }: SidecarProcess): Promise<void> {
  const path = `/latest/seen/${++asked}`
  await (await fetch(`http://127.0.0.1:${port}${path}`)).text()
  await until('the sidecar has logged it', () => logs.some((line) => line.path === path))
}

/** The versions of IMDS with which the sidecar gave an answer, and `container` for container credentials. */
function served({ logs }: SidecarProcess, since: number): string[] {
  const given = logs
    .slice(since)
    .filter(({ msg, method, status }) => msg === 'request' && method === 'GET' && status === 200)
  const way = ({ path, imds }: (typeof given)[number]) =>
    path === CONTAINER_CREDENTIALS_PATH ? 'container' : String(imds)
  return [...new Set(given.map(way))].sort()
}

function loadRules({ redirected, tokensCut }: Mode, port: number): void {
  const nat = redirected.map((family) => `${destination(family)} tcp dport 80 redirect to :${port}`)
  const rest = (['v4', 'v6'] as const).map((family) => `${destination(family)} reject`)
  const cut = tokensCut ? ['tcp dport 9169 @ih,0,32 0x50555420 drop'] : []
  execFileSync('nft', ['-f', '-'], {
    input: `table inet clients
      delete table inet clients
      table inet clients {
        chain served { type nat hook output priority -110; ${nat.join('; ')}; }
        chain end { type filter hook output priority 0; ${[...cut, ...rest].join('; ')}; }
      }`,
  })
}

function destination(family: 'v4' | 'v6'): string {
  return family === 'v4' ? 'ip daddr 169.254.169.254' : 'ip6 daddr fd00:ec2::254'
}

function lastJson(output: string): Record<string, string> {
  const line = output.split('\n').findLast((line) => line.startsWith('{"'))
  return line === undefined ? {} : JSON.parse(line)
}
