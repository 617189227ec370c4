/**
 * Warns of variables in a container's own environment that come before the metadata service in the SDKs' credential chain (AWS SDKs
 * and Tools reference guide): with them the app does not use the pod's role.
 */
import { SIDECAR_PORT } from '../../common/addresses.ts'
import { quote } from '../../common/role.ts'
import { ENDPOINT_ENV, isContainerVariable, SIDECAR_ENDPOINT } from '../pod/endpoint.ts'
import { isMeshContainer } from '../pod/mesh.ts'
import type { Container, EnvVar, Pod } from '../pod/pod.ts'
import { isOurs } from '../pod/reserved.ts'
import type { RedirectMode } from '../settings.ts'

const WINS_OVER_IMDS = new Set([
  'AWS_ACCESS_KEY_ID',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  'AWS_SHARED_CREDENTIALS_FILE',
  'AWS_PROFILE',
])

/** Endpoints that still lead to the sidecar: its own address in mode env, and only the real ones in mode nft. */
const DIRECT = new RegExp(`^http://(?:127\\.0\\.0\\.1|localhost|\\[::1\\]):${SIDECAR_PORT}/?$`)
const REDIRECTED = /^http:\/\/(?:169\.254\.169\.254|\[fd00:ec2::254\])\/?$/

/** One warning per container whose environment takes precedence. */
export function environmentWarnings({ spec }: Pod, redirect: RedirectMode): string[] {
  const initContainers = spec.initContainers ?? []
  // The plan removes what an earlier pass in the other mode has left.
  const isLeft = (entry: EnvVar) =>
    (entry.name === ENDPOINT_ENV && entry.value === SIDECAR_ENDPOINT) || isContainerVariable(entry)
  const isConcern: (entry: EnvVar) => boolean = initContainers.some(isOurs)
    ? (entry) => !isLeft(entry) && wins(entry, redirect)
    : (entry) => wins(entry, redirect)
  return [...initContainers, ...spec.containers]
    .filter((container) => !isOurs(container) && !isMeshContainer(container))
    .flatMap((container) => winning(container, isConcern))
}

function winning({ name, env }: Container, isConcern: (entry: EnvVar) => boolean): string[] {
  const names = (env ?? []).filter(isConcern).map((entry) => entry.name)
  if (names.length === 0) return []
  const list = [...new Set(names)].join(', ')
  return [`container ${quote(name)} sets ${list}, so its AWS SDK may not use the pod's role`]
}

function wins({ name, value }: EnvVar, redirect: RedirectMode): boolean {
  if (name === 'AWS_EC2_METADATA_DISABLED') return value?.toLowerCase() === 'true'
  if (name === ENDPOINT_ENV)
    return value !== undefined && !(redirect === 'nft' ? REDIRECTED : DIRECT).test(value)
  return WINS_OVER_IMDS.has(name) && value !== ''
}
