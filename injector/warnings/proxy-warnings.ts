/**
 * A proxy in a container's own environment that its SDK would ask for the metadata service: botocore, Go, Ruby, Rust
 * and all that uses curl do, JavaScript, Java and awscrt do not (docs/clients.md).
 */
import { METADATA_ADDRESSES, SIDECAR_PORT } from '../../common/addresses.ts'
import { quote } from '../../common/role.ts'
import { isMeshContainer } from '../patch/mesh.ts'
import { ENDPOINT_ENV } from '../pod/endpoint.ts'
import type { Container, EnvVar, Pod } from '../pod/pod.ts'
import { isOurs } from '../pod/reserved.ts'
import type { RedirectMode } from '../settings.ts'
import { exceptedBy } from './no-proxy.ts'

/** `HTTPS_PROXY` is none of them: metadata is asked for by http alone. */
const PROXIES = ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy']
const EXCEPTIONS = ['NO_PROXY', 'no_proxy']
const MODE_ENV = 'AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE'

/** Characters of all lists of a pod that are judged, since it takes time: no real pod has as many, and nothing is said of the rest. */
const MAX_JUDGED = 65_536

/** One warning per container that has a proxy without an exception for where its SDK asks. */
export function proxyWarnings({ spec }: Pod, redirect: RedirectMode): string[] {
  let judged = 0
  return [...(spec.initContainers ?? []), ...spec.containers]
    .filter((container) => !isOurs(container) && !isMeshContainer(container))
    .flatMap((container) => {
      judged += lengthOfLists(container)
      return judged > MAX_JUDGED ? [] : proxyWarning(container, redirect)
    })
}

function lengthOfLists({ env }: Container): number {
  const lists = (env ?? []).filter(({ name }) => EXCEPTIONS.includes(name))
  return lists.reduce((length, { value = '' }) => length + value.length, 0)
}

function proxyWarning({ name, env, envFrom }: Container, redirect: RedirectMode): string[] {
  // Of two with the same name the later one counts.
  const byName = new Map((env ?? []).map((entry) => [entry.name, entry]))
  const proxies = PROXIES.filter((proxy) => byName.has(proxy) && byName.get(proxy)?.value !== '')
  if (proxies.length === 0) return []
  const exceptions = EXCEPTIONS.map((exception) => byName.get(exception)).filter(
    (entry) => entry !== undefined,
  )
  // What cannot be seen may well have the exception.
  if (exceptions.some(isUnseen) || (exceptions.length === 0 && envFrom !== undefined)) return []
  const { host, port } = metadataEndpoint(byName, redirect)
  // Clients differ in which of the two spellings counts, so each must have it.
  const found = exceptions.map(({ value = '' }) => exceptedBy(value, host, port))
  const sets = `container ${quote(name)} sets ${proxies.join(', ')}`
  if (found.length === 0 || found.includes(undefined))
    return [`${sets} without ${host} in NO_PROXY, so its AWS SDK may ask the proxy for the pod's credentials`]
  if (found.includes('network'))
    return [
      `${sets} with ${host} in NO_PROXY only as part of a network, which boto3 and the AWS CLI do not understand`,
    ]
  return []
}

/** Where its SDK asks: what the container says, as far as it can be seen, or what the mode makes of it. */
function metadataEndpoint(
  byName: ReadonlyMap<string, EnvVar>,
  redirect: RedirectMode,
): { host: string; port: number } {
  const own = URL.parse(byName.get(ENDPOINT_ENV)?.value ?? '')
  if (own?.protocol === 'http:')
    return { host: own.hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(own.port || 80) }
  if (redirect === 'env') return { host: '127.0.0.1', port: SIDECAR_PORT }
  const [ipv4, ipv6] = METADATA_ADDRESSES
  return { host: byName.get(MODE_ENV)?.value?.toLowerCase() === 'ipv6' ? ipv6 : ipv4, port: 80 }
}

function isUnseen({ value = '', valueFrom }: EnvVar): boolean {
  return valueFrom !== undefined || value.includes('$(')
}
