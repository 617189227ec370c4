/** Asks the broker: GET at its addresses in order, the first that answers counts. */
import { Agent, request } from 'node:http'
import { messageOf } from '../../common/errors.ts'
import { VERSION } from '../../common/version.ts'

/** What came of asking. */
export type Reply =
  | {
      readonly kind: 'answer'
      readonly status: number
      readonly retryAfter: string | undefined
      readonly cacheControl: string | undefined
      readonly body: string
    }
  /** `detail` is a sentence for people; `code` a stable word for machines. */
  | {
      readonly kind: 'failure'
      readonly code: 'broker-unreachable' | 'broker-answer-invalid' | 'token-unreadable'
      readonly detail: string
    }

export type BrokerClient = (path: string) => Promise<Reply>

export type BrokerOptions = {
  /** Base URLs, `http://host:port`. */
  readonly urls: readonly string[]
  /** Reads the projected service-account token, again for every request: the kubelet renews it. */
  readonly readToken: () => string
  /** Time to connect, milliseconds; the broker is on this node. */
  readonly connectTimeout?: number
  /** Time for the whole answer, milliseconds: the first one may wait for STS and its retries. */
  readonly answerTimeout?: number
}

/** Longest answer read, bytes. Session tokens have no fixed size; this leaves them room for tens of KiB. */
const MAX_ANSWER = 256 * 1024

class AnswerError extends Error {}

/**
 * A client for the broker. Never rejects. The address that answered last is asked first.
 *
 * An HTTP status of any kind is an answer; only an address that gives none is passed over.
 */
export function brokerClient({
  urls,
  readToken,
  connectTimeout = 1000,
  answerTimeout = 10_000,
}: BrokerOptions): BrokerClient {
  const agent = new Agent({ keepAlive: false })
  let first = 0
  return async (path) => {
    let token: string
    try {
      token = readToken()
    } catch (error) {
      return { kind: 'failure', code: 'token-unreadable', detail: messageOf(error) }
    }
    const failures: string[] = []
    let garbled = false
    for (let turn = 0; turn < urls.length; turn++) {
      const index = (first + turn) % urls.length
      const base = urls[index] ?? ''
      try {
        const answer = await get(new URL(path, base), token, { agent, connectTimeout, answerTimeout })
        first = index
        return answer
      } catch (error) {
        garbled ||= error instanceof AnswerError
        failures.push(`${base}: ${messageOf(error)}`)
      }
    }
    const detail = `The broker on this node does not answer (${failures.join('; ')}). Remedy: look at the node-guard pod of this node.`
    return { kind: 'failure', code: garbled ? 'broker-answer-invalid' : 'broker-unreachable', detail }
  }
}

type GetOptions = { readonly agent: Agent; readonly connectTimeout: number; readonly answerTimeout: number }

function get(url: URL, token: string, { agent, connectTimeout, answerTimeout }: GetOptions): Promise<Reply> {
  const { promise, resolve, reject } = Promise.withResolvers<Reply>()
  const headers = {
    Authorization: `Bearer ${token}`,
    Accept: 'application/json',
    'User-Agent': `pod2iam-sidecar/${VERSION}`,
  }
  const outgoing = request(url, { agent, headers, maxHeaderSize: 8192 })
  const late = (what: string, milliseconds: number) =>
    setTimeout(() => outgoing.destroy(new Error(`${what} within ${milliseconds} ms`)), milliseconds)
  const answering = late('no complete answer', answerTimeout)
  const connecting = late('no connection', connectTimeout)
  outgoing.on('socket', (socket) => socket.once('connect', () => clearTimeout(connecting)))
  outgoing.on('response', (incoming) => {
    const chunks: Buffer[] = []
    let length = 0
    incoming.on('data', (chunk: Buffer) => {
      length += chunk.length
      if (length > MAX_ANSWER)
        outgoing.destroy(new AnswerError(`the answer is longer than ${MAX_ANSWER} bytes`))
      else chunks.push(chunk)
    })
    incoming.once('error', reject)
    incoming.once('end', () => {
      const { statusCode = 0, headers } = incoming
      resolve({
        kind: 'answer',
        status: statusCode,
        retryAfter: headers['retry-after'],
        cacheControl: headers['cache-control'],
        body: Buffer.concat(chunks).toString('utf8'),
      })
    })
  })
  outgoing.on('error', (error) => reject(isParseError(error) ? new AnswerError(messageOf(error)) : error))
  outgoing.once('close', () => {
    clearTimeout(answering)
    clearTimeout(connecting)
    reject(new Error('the connection ended before the answer was complete'))
  })
  outgoing.end()
  return promise
}

/** What answered does not speak HTTP. */
function isParseError(error: Error): boolean {
  return 'code' in error && typeof error.code === 'string' && error.code.startsWith('HPE_')
}
