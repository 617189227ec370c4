/** Reads one watch: a stream of JSON lines. */
import type { IncomingMessage } from 'node:http'
import type { KubeObject } from '../objects/objects.ts'
import { ApiError, type Status } from '../objects/status.ts'
import type { Call, Transport } from './transport.ts'

export type WatchEvent<T extends KubeObject = KubeObject> = {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'
  readonly object: T
}

export type Watch = {
  /** Resolves when the server has accepted the watch (its headers have arrived), or the watch has failed. */
  readonly started: Promise<void>
  /** Resolves when the server ends the stream or it is closed; rejects with an ApiError for an error of the API, else with the connection's. */
  readonly ended: Promise<void>
  close(): void
}

async function* lines(response: IncomingMessage): AsyncGenerator<string> {
  response.setEncoding('utf8')
  let rest = ''
  for await (const chunk of response) {
    const parts = `${rest}${chunk}`.split('\n')
    rest = parts.pop() ?? ''
    yield* parts
  }
}

export function openWatch<T extends KubeObject>(
  transport: Transport,
  call: Call,
  onEvent: (event: WatchEvent<T>) => void,
): Watch {
  let response: IncomingMessage | undefined
  let closed = false
  const opening = transport.stream(call).then((stream) => {
    response = stream
    if (closed) stream.destroy()
  })

  async function read(): Promise<void> {
    await opening
    if (response === undefined || closed) return
    try {
      for await (const line of lines(response)) {
        if (closed) return
        const event = JSON.parse(line) as WatchEvent<T> | { type: 'ERROR'; object: Status }
        if (event.type === 'ERROR') throw new ApiError(event.object)
        onEvent(event)
      }
    } catch (error) {
      if (!closed) throw error
    } finally {
      response.destroy()
    }
  }

  const ended = read()
  // A caller that does not use this result must not get an unhandled rejection.
  ended.catch(() => {})
  return {
    started: opening.catch(() => {}),
    ended,
    close() {
      closed = true
      response?.destroy()
    },
  }
}
