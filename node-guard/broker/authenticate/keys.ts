/**
 * The API server's token signing keys and issuer. jose's remote key set forgets its keys when they are ten minutes old and the
 * endpoint is unavailable; running pods must not lose their credentials when the API server does not answer, so the last good set is
 * kept here for a limited time.
 */

import { createLocalJWKSet, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose'
import { backoff, spread } from '../../../common/backoff.ts'
import type { Deps } from '../../../common/deps.ts'
import { messageOf } from '../../../common/errors.ts'
import { singleFlight } from '../../../common/single-flight.ts'
import { tokenBucket } from '../../../common/token-bucket.ts'

export type SigningKeys = ReturnType<typeof signingKeys>

const REFRESH_MS = 5 * 60_000
/** Limits fetches because of unknown keys, which anyone can name in a token. */
const UNKNOWN_PER_SECOND = 0.1
const UNKNOWN_BURST = 3
const RETRY = { base: 500, cap: 60_000 }
/** How long a set is used without a fresh one: longer than an outage of the control plane, but not forever on a forgotten node. */
const MAX_AGE_MS = 24 * 3_600_000
const MAX_KEYS = 64

/**
 * The keys, once started: fetched at once and every five minutes, until `signal` aborts. A fresh set replaces the old one completely, so that removed keys stop working.
 *
 * @param issuer given by the operator, otherwise discovered
 */
export function signingKeys({ kube, clock, log, signal }: Deps<'get'>, issuer: string | undefined) {
  let known: { issuer: string; key: JWTVerifyGetKey; at: number; text: string } | undefined
  let failures = 0
  let isFetching = false
  let cancel = () => {}
  const unknown = tokenBucket(UNKNOWN_PER_SECOND, UNKNOWN_BURST, clock)

  const fetch = async () => {
    isFetching = true
    try {
      const [set, discovered] = await Promise.all([
        kube.get('/openid/v1/jwks').then(keySet),
        issuer ?? kube.get('/.well-known/openid-configuration').then(issuerOf),
      ])
      const text = JSON.stringify([set, discovered])
      // An unchanged set keeps its imported keys.
      if (known?.text === text) known.at = clock.now()
      else known = { issuer: discovered, key: createLocalJWKSet(set), at: clock.now(), text }
      failures = 0
    } catch (error) {
      failures++
      log.warn('token signing keys could not be fetched; the last good set stays in use', {
        error: messageOf(error),
        ageSeconds: known ? Math.round((clock.now() - known.at) / 1000) : null,
      })
    } finally {
      isFetching = false
    }
  }
  const refresh = singleFlight(async () => {
    cancel()
    await fetch()
    if (signal.aborted) return
    const delay = failures > 0 ? backoff(failures, RETRY) : spread(REFRESH_MS)
    cancel = clock.after(delay, () => void refresh())
  })

  return {
    start: () => {
      signal.addEventListener('abort', () => cancel())
      void refresh()
    },
    /** The function that finds the key of a token, and the issuer that tokens must name; undefined while none is known. */
    current: (): { readonly issuer: string; readonly key: JWTVerifyGetKey } | undefined =>
      known && clock.now() - known.at <= MAX_AGE_MS ? known : undefined,
    /** To be called when a token names a key that is not in the set: fetches the set again, unless that was done too often recently. Returns whether it did. */
    unknownKey: async () => {
      if (!isFetching && !unknown.take()) return false
      await refresh()
      return true
    },
  }
}

/** @throws if the answer is not a set of public keys; such an answer must not replace a good one */
function keySet(answer: unknown): JSONWebKeySet {
  const keys = (answer as Partial<JSONWebKeySet> | null)?.keys
  if (!Array.isArray(keys) || keys.length === 0 || keys.length > MAX_KEYS)
    throw new Error('the API server’s key set has no keys')
  const usable = keys.filter(({ kty }) => kty === 'RSA' || kty === 'EC')
  if (usable.length === 0) throw new Error('the API server’s key set has no RSA or EC key')
  return { keys: usable }
}

function issuerOf(answer: unknown): string {
  const issuer = (answer as { readonly issuer?: unknown } | null)?.issuer
  if (typeof issuer !== 'string' || issuer === '')
    throw new Error('the API server’s discovery document names no issuer; give --issuer')
  return issuer
}
