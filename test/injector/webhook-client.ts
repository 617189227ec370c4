/** The peer `webhook-client`, a client that keeps connections as an API server does (webhook-client/main.go). */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export type ClientReport = {
  readonly sent: number
  readonly dialled: number
  /** How often each failure occurred, by its sentence. */
  readonly failures: Readonly<Record<string, number>>
  /** Lines that Go's HTTP transport logged. */
  readonly logged: readonly string[]
}

export type WebhookClient = {
  /** Sends a command, and resolves with the report that follows it. */
  readonly tell: (command: string) => Promise<ClientReport>
  readonly kill: () => void
  /** Waits for pending reviews, and resolves with the last report. */
  readonly end: () => Promise<ClientReport>
}

/**
 * @param program the path of the peer
 * @param ca PEM
 * @param review the review that it sends repeatedly
 */
export async function webhookClient(program: string, ca: string, review: unknown): Promise<WebhookClient> {
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-client-'))
  const [caFile, bodyFile] = [join(directory, 'ca.crt'), join(directory, 'review.json')]
  await Promise.all([writeFile(caFile, ca), writeFile(bodyFile, JSON.stringify(review))])
  const child = spawn(program, [caFile, bodyFile], { stdio: ['pipe', 'pipe', 'inherit'], env: {} })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const next = async (): Promise<ClientReport> => {
    const { done, value } = await lines.next()
    if (done === true) throw new Error(`${program} ended with ${child.exitCode ?? child.signalCode}`)
    return JSON.parse(value)
  }
  return {
    tell: (command) => {
      child.stdin.write(`${command}\n`)
      return next()
    },
    kill: () => {
      child.kill('SIGKILL')
      rmSync(directory, { recursive: true, force: true })
    },
    end: async () => {
      const exited = once(child, 'exit')
      child.stdin.end()
      const last = await next()
      await exited
      rmSync(directory, { recursive: true, force: true })
      return last
    },
  }
}
