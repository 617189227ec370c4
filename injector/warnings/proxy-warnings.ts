/**
 * Warns of a proxy in a container's own environment that its SDK would use for the metadata service: botocore, Go, Ruby, Rust and
 * everything based on curl do, JavaScript, Java and awscrt do not (docs/clients.md).
 */
import { METADATA_ADDRESSES, SIDECAR_PORT } from '../../common/addresses.ts'
import { quote } from '../../common/role.ts'
import { ENDPOINT_ENV } from '../pod/endpoint.ts'
import { isMeshContainer } from '../pod/mesh.ts'
import type { Container, EnvVar, Pod } from '../pod/pod.ts'
import { isOurs } from '../pod/reserved.ts'
import type { RedirectMode } from '../settings.ts'
import { proxyException } from './no-proxy.ts'

/** Without `HTTPS_PROXY`: requests for metadata use plain HTTP. */
const PROXIES = ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy']
const EXCEPTIONS = ['NO_PROXY', 'no_proxy']
const MODE_ENV = 'AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE'

/** Characters of a pod's lists that are read, because it takes time: no real pod has as many, and the rest causes no warning. */
const MAX_JUDGED = 65_536

/** One warning per container with a proxy and without an exception for the address that its SDK uses. */
export function proxyWarnings({ spec }: Pod, redirect: RedirectMode): string[] {
  let judged = 0
  return [...(spec.initContainers ?? []), ...spec.containers]
    .filter((container) => !isOurs(container) && !isMeshContainer(container))
    .flatMap((container) => {
      judged += lengthOfLists(container)
      return judged > MAX_JUDGED ? [] : proxyWarning(container, redirect)
    })
}

/** The variables that are read: a pod may have tens of thousands of others. */
const READ: ReadonlySet<string> = new Set([...PROXIES, ...EXCEPTIONS, ENDPOINT_ENV, MODE_ENV])

function lengthOfLists({ env }: Container): number {
  const lists = (env ?? []).filter(({ name }) => EXCEPTIONS.includes(name))
  return lists.reduce((length, { value = '' }) => length + value.length, 0)
}

function proxyWarning({ name, env, envFrom }: Container, redirect: RedirectMode): string[] {
  // Of two variables with the same name the later one counts.
  const byName = new Map((env ?? []).filter(({ name }) => READ.has(name)).map((entry) => [entry.name, entry]))
  const proxies = PROXIES.filter((proxy) => byName.has(proxy) && byName.get(proxy)?.value !== '')
  if (proxies.length === 0) return []
  const exceptions = EXCEPTIONS.map((exception) => byName.get(exception)).filter(
    (entry) => entry !== undefined,
  )
  // A value that cannot be seen may contain the exception.
  if (exceptions.some(isUnseen) || (exceptions.length === 0 && envFrom !== undefined)) return []
  const { host, port } = metadataEndpoint(byName, redirect)
  // Clients differ in which of the two spellings counts, so each must have it.
  const found = exceptions.map(({ value = '' }) => proxyException(value, host, port))
  const sets = `container ${quote(name)} sets ${proxies.join(', ')}`
  if (found.length === 0 || found.includes(undefined))
    return [`${sets} without ${host} in NO_PROXY, so its AWS SDK may ask the proxy for the pod's credentials`]
  if (found.includes('network'))
    return [
      `${sets} with ${host} in NO_PROXY only as part of a network, which boto3 and the AWS CLI do not understand`,
    ]
  return []
}

/** The address that its SDK uses: the container's own setting, as far as it can be seen, or the default of the mode. */
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
