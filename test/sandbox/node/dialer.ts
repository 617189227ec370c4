/** Connects from the node's network namespace, as the kubelet does for probes. */
import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Machine } from './machine.ts'
import { spawnIn } from './process.ts'
import { NODE_NETWORK } from './topology.ts'

export type DialRequest =
  | { kind: 'http'; url: string; headers: Readonly<Record<string, string>>; timeout: number }
  | { kind: 'tcp'; host: string; port: number; timeout: number }

export type DialAnswer = { readonly ok: boolean; readonly detail: string }

export type Dial = (request: DialRequest) => Promise<DialAnswer>

const MAIN = fileURLToPath(new URL('dial-main.ts', import.meta.url))

/** One process for all probes, started with the first of them; it ends with the machine. */
export function createDialer(machine: Machine): Dial {
  const pending = new Map<number, (answer: DialAnswer) => void>()
  let child: ChildProcess | undefined
  let serial = 0
  const start = (): ChildProcess => {
    const started = spawnIn(machine, NODE_NETWORK, [process.execPath, MAIN], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    if (started.stdout !== null)
      createInterface({ input: started.stdout }).on('line', (line) => {
        const { id, ...answer }: DialAnswer & { id: number } = JSON.parse(line)
        pending.get(id)?.(answer)
        pending.delete(id)
      })
    started.stdin?.on('error', () => {})
    started.on('exit', () => {
      child = undefined
      for (const answer of pending.values()) answer({ ok: false, detail: 'the dialer ended' })
      pending.clear()
    })
    started.unref()
    return started
  }
  return (request) =>
    new Promise((resolve) => {
      child ??= start()
      pending.set(++serial, resolve)
      child.stdin?.write(`${JSON.stringify({ id: serial, ...request })}\n`)
    })
}
