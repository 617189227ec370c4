/** What sidecar and broker of a release send to each other, byte by byte. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { Server } from 'node:http'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { credentialsBody, METADATA } from '../sidecar/support/broker.ts'
import { listening } from '../support/listening.ts'
import { silentLog } from '../support/log.ts'
import { until } from '../support/until.ts'

/** An answer as it arrives over TCP. */
export type RawAnswer = { readonly to: string; readonly raw: string }

/** A path that no release serves: what a broker answers to a sidecar with another protocol. */
const UNKNOWN_PATH = '/v9/credentials'

type Routes = Readonly<Record<'credentials' | 'metadata', () => Promise<unknown>>>
/** The part of a release's modules that is called here. */
type App = {
  readonly brokerApp: (routes: Routes, log: object, onAnswer: () => void) => unknown
}
type Serving = { readonly brokerServer: (app: unknown) => Server }
type Protocol = {
  readonly PROBLEMS: Readonly<Record<string, unknown>>
  readonly Problem: new (code: string, detail: string, options?: { retryAfter?: number }) => Error
}

/** The requests of the built sidecar, as complete texts. */
export async function sidecarRequests(bundle: string): Promise<string[]> {
  const asked: string[] = []
  const server = createServer((socket) => {
    let text = ''
    // The sidecar is killed as soon as both requests have arrived.
    socket.on('error', () => {})
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk
      if (!text.includes('\r\n\r\n')) return
      asked.push(text)
      const body = JSON.stringify(text.startsWith('GET /v1/metadata') ? METADATA : credentialsBody())
      socket.end(
        `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      )
    })
  })
  const port = await listening(server)
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-previous-'))
  await writeFile(join(directory, 'token'), 'the.service-account.token')
  const child = spawn(process.execPath, [bundle], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      POD2IAM_BROKER_URL: `http://127.0.0.1:${port}`,
      POD2IAM_TOKEN_FILE: join(directory, 'token'),
      POD2IAM_LISTEN_PORT: '0',
      POD2IAM_HEALTH_PORT: '0',
      POD2IAM_SELF_TEST: 'off',
      POD2IAM_STATE_DIR: directory,
    },
  })
  try {
    await until('both requests', () => asked.length >= 2)
    // The port differs in every run.
    return asked.map((text) => text.replaceAll(`:${port}`, ':9171')).sort()
  } finally {
    child.kill('SIGKILL')
    server.close()
    await rm(directory, { recursive: true, force: true })
  }
}

/** Every answer of a release's broker: success, each code, and requests outside the protocol. */
export async function brokerAnswers(checkout: string): Promise<RawAnswer[]> {
  const broker = join(checkout, 'node-guard/broker')
  // The second names are those of 0.1.0.
  const module = (name: string, former: string) =>
    import([name, former].map((file) => join(broker, file)).find(existsSync) ?? name)
  const { brokerApp }: App = await module('server/app.ts', 'http/app.ts')
  const { brokerServer }: Serving = await module('server/http-server.ts', 'http/server.ts')
  const { PROBLEMS, Problem }: Protocol = await import(join(checkout, 'common/protocol.ts'))
  let outcome: () => unknown = () => credentialsBody({}, Date.UTC(2026, 0, 1))
  const routes = { credentials: async () => outcome(), metadata: async () => METADATA }
  const server = brokerServer(brokerApp(routes, silentLog, () => {}))
  const port = await listening(server)
  const answers: RawAnswer[] = []
  const record = async (to: string, path: string, method = 'GET') => {
    answers.push({ to, raw: await exchange(port, `${method} ${path} HTTP/1.0\r\nHost: broker\r\n\r\n`) })
  }
  await record('success', '/v1/credentials')
  await record('metadata', '/v1/metadata')
  await record('unknown path', UNKNOWN_PATH)
  await record('another method', '/v1/credentials', 'POST')
  for (const code of Object.keys(PROBLEMS)) {
    const options = PROBLEM_WITH_DELAY.has(code) ? { retryAfter: 5 } : {}
    outcome = () => {
      throw new Problem(code, `a sentence about ${code}`, options)
    }
    await record(code, '/v1/credentials')
  }
  server.close()
  return answers
}

/** Codes that brokers send with a `Retry-After`. */
const PROBLEM_WITH_DELAY = new Set(['busy', 'node-unguarded', 'sts-throttled'])

/** Sends a text and reads until the other side closes the connection. */
function exchange(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = ''
    const socket = connect({ host: '127.0.0.1', port }, () => socket.write(text))
    socket
      .setEncoding('latin1')
      .setTimeout(15_000, () => socket.destroy(new Error('no answer in 15 s')))
      .on('data', (chunk: string) => {
        answer += chunk
      })
      .on('end', () => resolve(answer))
      .on('error', reject)
  })
}
