/** Who has signed a request to STS. */

import { createHash, timingSafeEqual } from 'node:crypto'
import type { KeyOwner } from './iam.ts'
import { checkFreshness, checkScope } from './scope.ts'
import { checkSignature, parseSignature, type WireRequest } from './sigv4.ts'
import { StsError } from './sts-error.ts'
import type { World } from './world.ts'

const INVALID = 'The security token included in the request is invalid.'

/**
 * Authenticates a request: known key, its own session token, scope, clock, signature, expiry. Throws the StsError
 * that AWS would answer.
 */
export function authenticate(request: WireRequest, world: World): KeyOwner {
  const signature = parseSignature(request)
  const owner = world.iam.ownerOf(signature.accessKeyId)
  if (!owner || !sameToken(signature.securityToken, owner.session?.sessionToken))
    throw new StsError('InvalidClientTokenId', 403, INVALID)
  checkScope(signature, world.sts.regions)
  checkFreshness(signature, world.now(), world.sts.clockSkewMinutes)
  checkSignature(request, signature, owner.secretAccessKey)
  if (owner.session && owner.session.expiresAt <= world.now())
    throw new StsError('ExpiredToken', 403, 'The security token included in the request is expired')
  return owner
}

/** Compares digests, in constant time; a user's key has no token and must be used without one. */
function sameToken(given: string | undefined, known: string | undefined): boolean {
  if (given === undefined || known === undefined) return given === known
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(known))
}
