/** The control socket: what tests do to the server. Plain HTTP over a unix socket, one JSON command per POST. */
import { createServer } from 'node:http'
import { messageOf } from '../../../../common/errors.ts'
import type { Judged } from '../admission/admission-policies.ts'
import type { SigningKeys } from '../auth/signing-keys.ts'
import type { Store } from '../objects/store.ts'
import type { Faults } from './faults.ts'
import type { Listeners } from './listeners.ts'
import type { ControlCommand } from './protocol.ts'
import type { Call } from './routes.ts'
import type { Watches } from './watch.ts'

export type ControlParts = {
  readonly store: Store
  readonly watches: Watches
  readonly faults: Faults
  readonly keys: SigningKeys
  readonly listeners: Listeners
  readonly calls: Call[]
  readonly judged: readonly Judged[]
  setClockOffset(milliseconds: number): void
}

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

async function run(parts: ControlParts, command: ControlCommand): Promise<unknown> {
  const { store, watches, faults, keys, listeners, calls } = parts
  switch (command.command) {
    case 'fault':
      return faults.add(command.rule)
    case 'clearFaults':
      return faults.clear()
    case 'refuse':
      return listeners.refuse()
    case 'accept':
      return listeners.accept()
    case 'restart':
      await listeners.refuse()
      // After a restart the real server's watch cache begins with its first list, so older versions are 410.
      if (!command.keepHistory) store.compact()
      await pause(command.downMs)
      return listeners.accept()
    case 'cutWatches':
      return watches.cut(command.how)
    case 'bookmark':
      return watches.bookmark()
    case 'compact':
      return store.compact()
    case 'rotateKeys':
      return keys.rotate(command.keepOld)
    case 'dropOldKeys':
      return keys.dropOld()
    case 'clock':
      return parts.setClockOffset(command.offsetMs)
    case 'calls': {
      const all = [...calls]
      if (command.clear) calls.length = 0
      return all
    }
    case 'judged':
      return parts.judged
    case 'watches':
      return watches.open
  }
}

/** Serves commands at `path` until the process ends. */
export function serveControl(path: string, parts: ControlParts): Promise<void> {
  const server = createServer(async (request, response) => {
    try {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk)
      const result = await run(parts, JSON.parse(Buffer.concat(chunks).toString('utf8')) as ControlCommand)
      response.end(JSON.stringify({ result: result ?? null }))
    } catch (error) {
      response.statusCode = 500
      response.end(JSON.stringify({ error: messageOf(error) }))
    }
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
}
