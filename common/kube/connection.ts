/** Credentials and connections of a client of the API server; both change while the process runs. */
import type { Agent } from 'node:http'
import { Agent as TlsAgent } from 'node:https'
import { type Clock, withTimeout } from '../clock.ts'
import { singleFlight } from '../single-flight.ts'
import type { KubeAccess, KubeCredentials } from './access.ts'

/** Token and CA files are read again this often: the kubelet swaps them in place. */
const REREAD_MS = 30_000

/** Connections are kept alive and shared; a changed CA or client certificate opens new ones. */
export class Connection {
  readonly #access: KubeAccess
  readonly #clock: Clock
  readonly #timeoutMs: number
  #credentials: KubeCredentials | undefined
  #readAt = Number.NEGATIVE_INFINITY
  #isRefused = false
  #agent: Agent | undefined

  /** @param timeoutMs for a read of the credentials */
  constructor(access: KubeAccess, clock: Clock, timeoutMs: number) {
    this.#access = access
    this.#clock = clock
    this.#timeoutMs = timeoutMs
  }

  /** The options of a request with these headers, credentials included. @throws if the credentials cannot be read, or not in time */
  async options(given: Readonly<Record<string, string>>) {
    const isOld = this.#clock.now() - this.#readAt >= (this.#access.rereadMs ?? REREAD_MS)
    const current = this.#credentials === undefined || isOld ? await this.#reread() : this.#credentials
    const headers: Record<string, string> = { ...given, ...current.headers }
    if (current.token) headers.authorization = `Bearer ${current.token}`
    return this.#agent ? { agent: this.#agent, headers } : { headers }
  }

  /** After a 401 the credentials are read before the next request. */
  noticeStatus(status: number): void {
    if (status !== 401) return
    this.#isRefused = true
    this.#readAt = Number.NEGATIVE_INFINITY
  }

  close(): void {
    this.#agent?.destroy()
  }

  /** Reads the credentials again, one read at a time: a second agent would end the connections of the first. */
  readonly #reread = singleFlight(async () => {
    // A credential plugin may take longer than a request may; the next request finds what it has given.
    const late = () => new Error(`no credentials within ${this.#timeoutMs} ms`)
    const fresh = await withTimeout(this.#clock, this.#access.read(this.#isRefused), this.#timeoutMs, late)
    this.#readAt = this.#clock.now()
    this.#isRefused = false
    if (!this.#agent || !sameTls(this.#credentials, fresh)) {
      const agent = await (this.#access.agent?.(fresh) ?? tlsAgent(this.#access, fresh))
      this.#agent?.destroy()
      this.#agent = agent
    }
    this.#credentials = fresh
    return fresh
  })
}

function tlsAgent({ serverName, isInsecure }: KubeAccess, { ca, cert, key }: KubeCredentials): Agent {
  return new TlsAgent({
    keepAlive: true,
    maxSockets: 16,
    ...{ ca, cert, key },
    ...(serverName ? { servername: serverName } : {}),
    ...(isInsecure ? { rejectUnauthorized: false } : {}),
  })
}

function sameTls(a: KubeCredentials | undefined, b: KubeCredentials): boolean {
  return a?.ca === b.ca && a?.cert === b.cert && a?.key === b.key
}
