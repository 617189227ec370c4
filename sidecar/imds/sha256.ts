/**
 * SHA-256 (FIPS 180-4) and HMAC (RFC 2104), for messages of a few bytes.
 *
 * Ours and not node:crypto's by measurement: requiring that loads OpenSSL's tables and 40 internal modules, 1.1 MiB
 * private memory idle in every pod, a tenth of the whole budget, for one hash of eight bytes a request
 * (`sidecar/README.md`). `test/sidecar/properties.test.ts` holds it to node:crypto on random keys and messages. What it
 * protects is a session token whose key never leaves the pod; comparison is constant-time in `tokens.ts`.
 */

/** Round constants: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
const K = new Uint32Array(64)
/** Initial state: the same of the square roots of the first 8. */
const INITIAL = new Uint32Array(8)
for (let candidate = 2, count = 0; count < 64; candidate++) {
  let prime = true
  for (let divisor = 2; divisor * divisor <= candidate; divisor++)
    if (candidate % divisor === 0) prime = false
  if (!prime) continue
  if (count < 8) INITIAL[count] = (candidate ** (1 / 2) % 1) * 2 ** 32
  K[count++] = (candidate ** (1 / 3) % 1) * 2 ** 32
}

// Scratch space: typed arrays of more than 64 bytes live outside V8's heap and would be garbage there for long.
const W = new Uint32Array(64)
const BLOCK_BYTES = 64
const block = new Uint8Array(BLOCK_BYTES)

/** The 32 bytes of SHA-256 over the concatenation of some messages. */
export function sha256(...messages: readonly Uint8Array[]): Uint8Array {
  const state = INITIAL.slice()
  let length = 0
  const push = (byte: number) => {
    block[length++ % BLOCK_BYTES] = byte
    if (length % BLOCK_BYTES === 0) compress(state)
  }
  for (const message of messages) for (const byte of message) push(byte)
  const bits = length * 8
  push(0x80)
  while (length % BLOCK_BYTES !== BLOCK_BYTES - 8) push(0)
  for (let byte = 7; byte >= 0; byte--) push(Math.floor(bits / 2 ** (8 * byte)) & 0xff)
  return Uint8Array.from({ length: 32 }, (_, index) => at(state, index >> 2) >>> (24 - 8 * (index & 3)))
}

function compress(state: Uint32Array): void {
  for (let t = 0; t < 16; t++)
    W[t] = (byteAt(t * 4) << 24) | (byteAt(t * 4 + 1) << 16) | (byteAt(t * 4 + 2) << 8) | byteAt(t * 4 + 3)
  for (let t = 16; t < 64; t++) {
    const w15 = at(W, t - 15)
    const w2 = at(W, t - 2)
    const s0 = rotr(w15, 7) ^ rotr(w15, 18) ^ (w15 >>> 3)
    const s1 = rotr(w2, 17) ^ rotr(w2, 19) ^ (w2 >>> 10)
    W[t] = at(W, t - 16) + s0 + at(W, t - 7) + s1
  }
  let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = state
  for (let t = 0; t < 64; t++) {
    const t1 = h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) + at(K, t) + at(W, t)
    const t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))
    h = g
    g = f
    f = e
    e = (d + t1) | 0
    d = c
    c = b
    b = a
    a = (t1 + t2) | 0
  }
  const words = [a, b, c, d, e, f, g, h]
  for (let index = 0; index < 8; index++) state[index] = at(state, index) + (words[index] ?? 0)
}

function rotr(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by))
}

function at(words: Uint32Array, index: number): number {
  return words[index] ?? 0
}

function byteAt(index: number): number {
  return block[index] ?? 0
}

/** HMAC-SHA256, 32 bytes. */
export function hmacSha256(key: Uint8Array, message: Uint8Array): Uint8Array {
  const padded = new Uint8Array(BLOCK_BYTES)
  padded.set(key.length > BLOCK_BYTES ? sha256(key) : key)
  const inner = sha256(
    padded.map((byte) => byte ^ 0x36),
    message,
  )
  return sha256(
    padded.map((byte) => byte ^ 0x5c),
    inner,
  )
}
