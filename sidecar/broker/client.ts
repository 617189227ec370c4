/** Asks the broker: GET at its addresses in order, the first that answers counts. */
import { BROKER_ADDRESSES } from '../../common/addresses.ts'
import { messageOf } from '../../common/errors.ts'
import { CREDENTIALS_PATH, WEB_IDENTITY_HEADER } from '../../common/protocol.ts'
import { VERSION } from '../../common/version.ts'
import { AnswerError, get } from '../http/get.ts'

/** The broker's answer, or why there is none. */
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

type BrokerOptions = {
  /** Base URLs, `http://host:port`. */
  readonly urls: readonly string[]
  /** Called with the broker's release, with the first answer and whenever it has changed. */
  readonly onRelease?: (release: string) => void
  /** Reads the projected service-account token, again for every request: the kubelet renews it. */
  readonly readToken: () => string
  /** Reads the web identity token, for requests to {@link CREDENTIALS_PATH}; undefined without one. */
  readonly readWebIdentity?: (() => string) | undefined
  /**
   * Whether a host may be sent that token, with which anybody can assume the pod's role: only the broker's addresses on the node itself,
   * whatever the URLs say.
   */
  readonly isTrusted?: (host: string) => boolean
  /** Time to connect, milliseconds; the broker is on this node. */
  readonly connectTimeout?: number
  /** Time for the whole answer, milliseconds: the first one may wait for STS and its retries. */
  readonly answerTimeout?: number
}

/** Longest answer read, bytes. Session tokens have no fixed size; this leaves them room for tens of KiB. */
const MAX_ANSWER = 256 * 1024

/**
 * A client for the broker. Never rejects. The address that answered last is asked first.
 *
 * An HTTP status of any kind is an answer; only after an address that gives none the next one is tried.
 */
export function brokerClient(options: BrokerOptions): BrokerClient {
  const { urls, readToken, readWebIdentity, onRelease = () => {} } = options
  let first = 0
  let release: string | undefined
  const learn = (server: string | undefined) => {
    const current = releaseOf(server)
    if (current === undefined || current === release) return
    release = current
    onRelease(current)
  }
  return async (path) => {
    let tokens: Tokens
    try {
      const token = readToken()
      tokens = { token, webIdentity: path === CREDENTIALS_PATH ? readWebIdentity?.() : undefined }
    } catch (error) {
      return { kind: 'failure', code: 'token-unreadable', detail: messageOf(error) }
    }
    const failures: string[] = []
    let garbled = false
    for (let turn = 0; turn < urls.length; turn++) {
      const index = (first + turn) % urls.length
      const base = urls[index] ?? ''
      try {
        const { status, header, body } = await ask(base, path, tokens, options)
        first = index
        learn(header('server'))
        const retryAfter = header('retry-after')
        return { kind: 'answer', status, retryAfter, cacheControl: header('cache-control'), body }
      } catch (error) {
        garbled ||= error instanceof AnswerError
        failures.push(`${base}: ${messageOf(error)}`)
      }
    }
    const detail = `The broker on this node does not answer (${failures.join('; ')}). Remedy: look at the node-guard pod of this node.`
    return { kind: 'failure', code: garbled ? 'broker-answer-invalid' : 'broker-unreachable', detail }
  }
}

type Tokens = { readonly token: string; readonly webIdentity: string | undefined }

/** @throws if the broker gives no answer at this address */
function ask(
  base: string,
  path: string,
  { token, webIdentity }: Tokens,
  { isTrusted = isBrokerAddress, connectTimeout = 1000, answerTimeout = 10_000 }: BrokerOptions,
) {
  const { hostname, port } = new URL(base)
  const host = hostname.replace(/^\[|\]$/g, '')
  return get({
    host,
    port: Number(port || 80),
    path,
    headers: {
      Authorization: `Bearer ${token}`,
      ...(webIdentity !== undefined && isTrusted(host) ? { [WEB_IDENTITY_HEADER]: webIdentity } : {}),
      Accept: 'application/json',
      'User-Agent': `pod2iam-sidecar/${VERSION}`,
    },
    connectTimeout,
    answerTimeout,
    maxBody: MAX_ANSWER,
  })
}

const isBrokerAddress = (host: string) => BROKER_ADDRESSES.some((address) => address === host)

/** The release in the broker's `Server` header; brokers of 0.1.0 send none. */
function releaseOf(server: string | undefined): string | undefined {
  return /^pod2iam-broker\/([\w.+-]{1,40})$/.exec(server ?? '')?.[1]
}
