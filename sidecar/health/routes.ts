import { CONTAINER_CREDENTIALS_PATH } from '../../common/addresses.ts'
import { isBelow } from '../imds/target.ts'

const CREDENTIALS = '/latest/meta-data/iam/security-credentials'
const BELOW_CREDENTIALS = [`${CREDENTIALS}/`, `${CREDENTIALS}-extended/`] as const

/** Bounded name of a path, for metric labels. */
export function routeOf(path: string | undefined): string {
  if (path === undefined) return 'malformed'
  if (path === '/latest/api/token') return 'token'
  if (path === CONTAINER_CREDENTIALS_PATH) return 'container-credentials'
  if (path === CREDENTIALS || path === `${CREDENTIALS}-extended`) return 'role-list'
  if (BELOW_CREDENTIALS.some((directory) => path.startsWith(directory))) return 'credentials'
  if (isBelow(path, '/latest/meta-data/iam')) return 'iam'
  if (isBelow(path, '/latest/meta-data')) return 'meta-data'
  if (isBelow(path, '/latest/dynamic')) return 'dynamic'
  return path === '/' || path === '/latest' ? 'root' : 'other'
}

/** Whether a request is one for credentials: these are logged at info, one line each. */
export function asksForCredentials(path: string | undefined): boolean {
  return path === CONTAINER_CREDENTIALS_PATH || (path !== undefined && isBelow(path, '/latest/meta-data/iam'))
}
