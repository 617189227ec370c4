/**
 * The part of `Headers`, `Request` and `Response` (Fetch standard) that hono and the routes of this component use.
 *
 * Why not the global ones: touching them makes Node load undici, 10 MiB more private memory and 29 ms more of start in
 * every pod (`sidecar/README.md` has the numbers). esbuild injects these names into the sidecar's bundle
 * (`build.ts`), so hono's own `new Response(…)` means the class below. Nothing here streams: bodies are a few KiB.
 */

type HeadersLike = Iterable<readonly [string, string]> | Readonly<Record<string, string>> | undefined

/** Header names to values; names are case-insensitive, several values of a name are joined by `, `. */
export class Headers {
  readonly #map = new Map<string, string>()

  constructor(init?: HeadersLike) {
    if (init === undefined || init === null) return
    const pairs = Symbol.iterator in init ? init : Object.entries(init)
    for (const [name, value] of pairs as Iterable<readonly [string, string]>) this.append(name, value)
  }

  get(name: string): string | null {
    return this.#map.get(name.toLowerCase()) ?? null
  }

  has(name: string): boolean {
    return this.#map.has(name.toLowerCase())
  }

  set(name: string, value: string): void {
    this.#map.set(name.toLowerCase(), String(value))
  }

  append(name: string, value: string): void {
    const key = name.toLowerCase()
    const earlier = this.#map.get(key)
    this.#map.set(key, earlier === undefined ? String(value) : `${earlier}, ${value}`)
  }

  delete(name: string): void {
    this.#map.delete(name.toLowerCase())
  }

  forEach(callback: (value: string, name: string, headers: Headers) => void): void {
    for (const [name, value] of this.#map) callback(value, name, this)
  }

  entries(): IterableIterator<[string, string]> {
    return this.#map.entries()
  }

  keys(): IterableIterator<string> {
    return this.#map.keys()
  }

  values(): IterableIterator<string> {
    return this.#map.values()
  }

  [Symbol.iterator](): IterableIterator<[string, string]> {
    return this.#map.entries()
  }
}

const decoder = new TextDecoder()

/** The buffer behind some bytes, without what Node's pool keeps around them. */
function exactBuffer(bytes: Uint8Array): ArrayBuffer {
  return Uint8Array.from(bytes).buffer
}

type RequestInit = {
  readonly method?: string
  readonly headers?: Headers
  /** Reads the body, once; rejects when it is too long or the client goes away. */
  readonly readBody?: () => Promise<Uint8Array>
  /** Makes the abort signal; called when somebody first asks for it, because most requests never do. */
  readonly makeSignal?: () => AbortSignal
}

/** A request. `url` is the request target as it came, behind `http://<host>`: nothing is normalised. */
export class Request {
  readonly method: string
  readonly url: string
  readonly headers: Headers
  readonly #init: RequestInit
  #signal: AbortSignal | undefined
  #used = false

  constructor(url: string, init: RequestInit = {}) {
    this.url = url
    this.method = init.method ?? 'GET'
    this.headers = init.headers ?? new Headers()
    this.#init = init
  }

  get bodyUsed(): boolean {
    return this.#used
  }

  /** Aborted when the client goes away before its answer is sent. */
  get signal(): AbortSignal {
    this.#signal ??= this.#init.makeSignal?.() ?? new AbortController().signal
    return this.#signal
  }

  async bytes(): Promise<Uint8Array> {
    if (this.#used) throw new TypeError('Body is unusable: it has already been read')
    this.#used = true
    return (await this.#init.readBody?.()) ?? new Uint8Array()
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    return exactBuffer(await this.bytes())
  }

  async text(): Promise<string> {
    return decoder.decode(await this.bytes())
  }

  async json(): Promise<unknown> {
    return JSON.parse(await this.text())
  }
}

type ResponseInit = { readonly status?: number | undefined; readonly headers?: HeadersLike }

/**
 * A response with a body that is text, bytes or nothing.
 *
 * @public The build injects it where Hono names the global class (build.ts).
 */
export class Response {
  readonly status: number
  readonly headers: Headers
  readonly body: string | Uint8Array | null

  constructor(body: string | Uint8Array | null = null, init: ResponseInit = {}) {
    this.body = body
    this.status = init.status ?? 200
    this.headers = new Headers(init.headers)
    if (typeof body === 'string' && !this.headers.has('content-type'))
      this.headers.set('content-type', 'text/plain;charset=UTF-8')
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    return exactBuffer(
      typeof this.body === 'string' ? Buffer.from(this.body) : (this.body ?? new Uint8Array()),
    )
  }

  async text(): Promise<string> {
    return typeof this.body === 'string' ? this.body : decoder.decode(await this.arrayBuffer())
  }

  async json(): Promise<unknown> {
    return JSON.parse(await this.text())
  }
}
