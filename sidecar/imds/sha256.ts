/**
 * SHA-256 (FIPS 180-4) and HMAC (RFC 2104), for messages of a few bytes.
 *
 * Not node:crypto's, because of a measurement: requiring that loads OpenSSL's tables and 40 internal modules, 1.1 MiB
 * private memory idle in every pod, a tenth of the whole budget, for one hash of eight bytes a token
 * (`sidecar/README.md`). `test/sidecar/properties.test.ts` holds it to node:crypto on random keys and messages. What it
 * protects is a session token whose key never leaves the pod; comparison is constant-time in `tokens.ts`.
 *
 * It runs without a compiler (`main.ts`): a call costs as much as ten additions, so the rounds have none.
 */

/** Round constants: the first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
const K = new Int32Array(64)
/** Initial state: the same of the square roots of the first 8. */
const INITIAL = new Int32Array(8)
for (let candidate = 2, count = 0; count < 64; candidate++) {
  let prime = true
  for (let divisor = 2; divisor * divisor <= candidate; divisor++)
    if (candidate % divisor === 0) prime = false
  if (!prime) continue
  if (count < 8) INITIAL[count] = (candidate ** (1 / 2) % 1) * 2 ** 32
  K[count++] = (candidate ** (1 / 3) % 1) * 2 ** 32
}

const BLOCK_BYTES = 64
// Scratch space: typed arrays of more than 64 bytes live outside V8's heap and would be garbage there for long.
const W = new Int32Array(64)
const tail = Buffer.alloc(2 * BLOCK_BYTES)

/** The 32 bytes of SHA-256 over a message. */
export function sha256(message: Uint8Array): Uint8Array {
  return finished(INITIAL.slice(), 0, message)
}

/**
 * HMAC-SHA256 with one key, 32 bytes a message. What the key alone decides is computed here, half of the whole.
 */
export function hmacSha256(key: Uint8Array): (message: Uint8Array) => Uint8Array {
  const padded = Buffer.alloc(BLOCK_BYTES)
  padded.set(key.length > BLOCK_BYTES ? sha256(key) : key)
  const after = (mask: number) => {
    const state = INITIAL.slice()
    compress(state, Buffer.from(padded.map((byte) => byte ^ mask)), 0)
    return state
  }
  const [inner, outer] = [after(0x36), after(0x5c)]
  return (message) => finished(outer.slice(), BLOCK_BYTES, finished(inner.slice(), BLOCK_BYTES, message))
}

/** Takes a message in and ends the hash; `before` is how many bytes, whole blocks, went into `state` already. */
function finished(state: Int32Array, before: number, message: Uint8Array): Uint8Array {
  const rest = message.length % BLOCK_BYTES
  const whole = message.length - rest
  if (whole > 0) {
    const bytes = Buffer.from(message.buffer, message.byteOffset, message.length)
    for (let offset = 0; offset < whole; offset += BLOCK_BYTES) compress(state, bytes, offset)
  }
  const end = rest < BLOCK_BYTES - 8 ? BLOCK_BYTES : 2 * BLOCK_BYTES
  tail.fill(0, rest, end)
  tail.set(whole === 0 ? message : message.subarray(whole))
  tail[rest] = 0x80
  const bits = (before + message.length) * 8
  tail.writeUInt32BE(Math.floor(bits / 2 ** 32), end - 8)
  tail.writeUInt32BE(bits % 2 ** 32, end - 4)
  for (let offset = 0; offset < end; offset += BLOCK_BYTES) compress(state, tail, offset)
  const digest = Buffer.alloc(32)
  for (let index = 0; index < 8; index++) digest.writeInt32BE(state[index] as number, index * 4)
  return digest
}

/** Takes one block of 64 bytes in. */
function compress(state: Int32Array, bytes: Buffer, offset: number): void {
  for (let t = 0; t < 16; t++) W[t] = bytes.readInt32BE(offset + t * 4)
  for (let t = 16; t < 64; t++) {
    const x = W[t - 15] as number
    const y = W[t - 2] as number
    W[t] =
      (W[t - 16] as number) +
      (W[t - 7] as number) +
      (((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3)) +
      (((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10))
  }
  let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = state
  for (let t = 0; t < 64; t++) {
    const t1 =
      h +
      (((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))) +
      ((e & f) ^ (~e & g)) +
      (K[t] as number) +
      (W[t] as number)
    const t2 =
      (((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))) +
      ((a & b) ^ (a & c) ^ (b & c))
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
  for (let index = 0; index < 8; index++) state[index] = (state[index] as number) + (words[index] as number)
}
