/** Who makes a request: the owner of a bearer token, or nobody (`system:anonymous`). */
import { timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { UserInfo } from '../objects/objects.ts'
import { failure, unauthorized } from '../objects/status.ts'
import type { Tokens } from './tokens.ts'

const ADMIN: UserInfo = {
  username: 'kubernetes-admin',
  groups: ['system:masters', 'system:authenticated'],
}
const ANONYMOUS: UserInfo = { username: 'system:anonymous', groups: ['system:unauthenticated'] }

function sameSecret(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}

/** @throws ApiError 401 for a token that is not valid, 501 for impersonation (`kubectl --as`) */
export async function authenticate(
  headers: IncomingHttpHeaders,
  adminToken: string,
  tokens: Tokens,
): Promise<UserInfo> {
  const { authorization } = headers
  if (headers['impersonate-user'] !== undefined)
    throw failure(501, 'NotImplemented', 'nobody can act as another user in the sandbox')
  if (authorization === undefined) return ANONYMOUS
  const token = /^Bearer\s+(\S+)$/i.exec(authorization)?.[1]
  if (token === undefined) throw unauthorized()
  if (sameSecret(token, adminToken)) return ADMIN
  return (await tokens.authenticate(token)).user
}
