/** Who makes a request: bearer tokens, impersonation, or nobody (`system:anonymous`). */
import { timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { UserInfo } from './objects.ts'
import { authorize, refusal } from './rbac.ts'
import { forbidden, unauthorized } from './status.ts'
import type { Store } from './store.ts'
import type { Tokens } from './tokens.ts'

export const ADMIN: UserInfo = {
  username: 'kubernetes-admin',
  groups: ['system:masters', 'system:authenticated'],
}
const ANONYMOUS: UserInfo = { username: 'system:anonymous', groups: ['system:unauthenticated'] }

function sameSecret(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}

async function bearer(
  authorization: string | undefined,
  adminToken: string,
  tokens: Tokens,
): Promise<UserInfo> {
  if (authorization === undefined) return ANONYMOUS
  const token = /^Bearer\s+(\S+)$/i.exec(authorization)?.[1]
  if (token === undefined) throw unauthorized()
  if (sameSecret(token, adminToken)) return ADMIN
  return (await tokens.authenticate(token)).user
}

const list = (value: string | string[] | undefined): string[] =>
  value === undefined ? [] : Array.isArray(value) ? value : value.split(',').map((part) => part.trim())

/** `Impersonate-User` and `Impersonate-Group` (`kubectl --as`). */
function impersonated(store: Store, user: UserInfo, headers: IncomingHttpHeaders): UserInfo {
  const name = headers['impersonate-user']
  if (typeof name !== 'string') return user
  const account = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(name)
  const attributes = account
    ? { verb: 'impersonate', group: '', resource: 'serviceaccounts', namespace: account[1], name: account[2] }
    : { verb: 'impersonate', group: '', resource: 'users', name }
  if (!authorize(store, user, attributes))
    throw forbidden(
      { group: '', plural: attributes.resource },
      attributes.name ?? '',
      refusal(user, attributes),
    )
  const groups = list(headers['impersonate-group'])
  const implied = account ? ['system:serviceaccounts', `system:serviceaccounts:${account[1]}`] : []
  return { username: name, groups: [...new Set([...groups, ...implied, 'system:authenticated'])] }
}

/**
 * @throws ApiError 401 for a token that is not valid, 403 for an impersonation that is not allowed
 */
export async function authenticate(
  store: Store,
  tokens: Tokens,
  adminToken: string,
  headers: IncomingHttpHeaders,
): Promise<UserInfo> {
  return impersonated(store, await bearer(headers.authorization, adminToken, tokens), headers)
}
