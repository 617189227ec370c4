/**
 * What runs in the test's own pods, bundled into one text and given to `node -e` (programs/bundle.ts):
 *
 *   credentials           prints the credential document, and writes its key to the termination message; exit code 1 if there is none
 *   container-credentials prints what a client gets that supports only these; exit code 1 if there is none
 *   start [plain]         reports when its first instruction ran and when it had credentials; exit code 1 without; plain: requests none
 *   client                requests it ten times a second without end and keeps counts
 *   prober                connects to the metadata endpoint without end and counts the outcomes
 *   state                 prints the current counts of the client or prober in this container
 *   get URL [token]       prints status, body and how the connection ended; the token is the first line of its input
 *   node                  prints what is on the node: nftables tables, links
 *   idle                  waits for its end
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import { METADATA_ADDRESSES } from '../../../common/addresses.ts'
import { containerCredentials, credentials, get } from './metadata.ts'
import type { ClientState, Leftovers, ProberState, Reach, StartReport } from './reports.ts'

const STATE = '/tmp/pod2iam-cluster-test.json'
const TERMINATION_LOG = '/dev/termination-log'
const CONNECT_TIMEOUT_MS = 1000
/** The counts are written to the file at most this often, unless the endpoint was open, so that a prober can make more attempts. */
const KEEP_MS = 100

// `node -e TEXT MODE …` has no script in argv.
const [mode = 'idle', first = '', second] = process.argv.slice(1)

// A process with PID 1 ignores SIGTERM unless it has a handler.
process.on('SIGTERM', () => process.exit(0))

async function main(): Promise<void> {
  switch (mode) {
    case 'credentials':
      return once()
    case 'container-credentials':
      return byContainerCredentials()
    case 'start':
      return start(first === 'plain')
    case 'client':
      return client()
    case 'prober':
      return prober()
    case 'state':
      return print(readFileSync(STATE, 'utf8'))
    case 'get':
      return print(JSON.stringify(await get(first, second === undefined ? {} : await bearer())))
    case 'node':
      return print(JSON.stringify(leftovers()))
    default:
      setInterval(() => undefined, 60_000)
  }
}

async function once(): Promise<void> {
  const began = performance.now()
  const { document, problem } = await credentials()
  const milliseconds = Math.round(performance.now() - began)
  const { AccessKeyId: accessKeyId } = document ?? {}
  writeFileSync(TERMINATION_LOG, JSON.stringify({ accessKeyId, milliseconds, problem }))
  if (document !== undefined) return print(JSON.stringify(document))
  process.stderr.write(`${problem}\n`)
  process.exitCode = 1
}

async function byContainerCredentials(): Promise<void> {
  const { document, problem } = await containerCredentials()
  if (document === undefined) throw new Error(problem)
  print(JSON.stringify(document))
}

async function start(isPlain: boolean): Promise<void> {
  // Both times by the clock of the machine: when this process began, and now.
  const startedAt = performance.timeOrigin
  const began = performance.now()
  const { document, problem } = isPlain ? {} : await credentials()
  const report: StartReport = {
    startedAt,
    ...(document === undefined ? {} : { credentialsAt: startedAt + performance.now() }),
    waited: performance.now() - began,
    ...(problem === undefined ? {} : { problem }),
  }
  writeFileSync(TERMINATION_LOG, JSON.stringify(report))
  process.exitCode = problem === undefined ? 0 : 1
}

async function client(): Promise<void> {
  const state: ClientState = { requests: 0, failures: 0, lastFailure: '', accessKeyId: '' }
  for (;;) {
    const { document, problem } = await credentials()
    state.requests++
    if (document === undefined) {
      state.failures++
      state.lastFailure = `${new Date().toISOString()} ${problem}`
    } else state.accessKeyId = document.AccessKeyId
    keep(state)
    await wait(100)
  }
}

async function prober(): Promise<void> {
  const state: ProberState = {
    attempts: 0,
    refused: 0,
    opened: 0,
    silent: 0,
    unreachable: 0,
    lastOpening: '',
    began: new Date().toISOString(),
  }
  let due = 0
  for (;;) {
    for (const address of METADATA_ADDRESSES) {
      const how = await reach(address)
      state.attempts++
      state[how]++
      if (how !== 'opened') continue
      state.lastOpening = `${new Date().toISOString()} ${address}`
      due = 0
    }
    if (performance.now() > due) {
      keep(state)
      due = performance.now() + KEEP_MS
    }
    await wait(5)
  }
}

function reach(host: string): Promise<Reach> {
  const { promise, resolve } = Promise.withResolvers<Reach>()
  const socket = createConnection({ host, port: 80 })
  socket.setTimeout(CONNECT_TIMEOUT_MS, () => resolve('silent'))
  socket.once('connect', () => resolve('opened'))
  socket.once('error', ({ code }: NodeJS.ErrnoException) =>
    resolve(code === 'ECONNREFUSED' ? 'refused' : 'unreachable'),
  )
  return promise.finally(() => socket.destroy())
}

function leftovers(): Leftovers {
  const run = (command: string, ...args: string[]) => {
    const { stdout, error, stderr, status } = spawnSync(command, args, { encoding: 'utf8', timeout: 5000 })
    return error !== undefined || status !== 0 ? `${command}: ${error?.message ?? stderr}` : stdout
  }
  return {
    tables: run('nft', 'list', 'tables'),
    links: run('ip', '-o', 'link'),
    chains: ['iptables-nft-save', 'iptables-legacy-save'].map((command) => run(command)).join('\n'),
  }
}

function keep(state: ClientState | ProberState): void {
  writeFileSync(`${STATE}.new`, JSON.stringify(state))
  renameSync(`${STATE}.new`, STATE)
}

/** Reads the first line only, because an exec of the API server need not end the input. */
async function bearer(): Promise<Record<string, string>> {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdin.destroy()
    return { authorization: `Bearer ${line}` }
  }
  throw new Error('no token came')
}

function print(text: string): void {
  process.stdout.write(text)
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
})
