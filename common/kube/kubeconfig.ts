/**
 * Access to the API server by `KubeConfig` of @kubernetes/client-node: it knows what a kubeconfig may contain and every way
 * to a credential. Requests are not made with it but with {@link kubeClient} (decision 0050). It is loaded when it is
 * needed: the broker in a pod does without it (decision 0003).
 */
import type { Agent } from 'node:http'
import type { RequestOptions } from 'node:https'
import { dirname } from 'node:path'
import type { KubeConfig } from '@kubernetes/client-node/dist/config.js'
import type { User } from '@kubernetes/client-node/dist/config_types.js'
import { type SteadyClock, systemClock, withTimeout } from '../clock.ts'
import { singleFlight } from '../single-flight.ts'
import {
  accessError,
  type KubeAccess,
  KubeAccessError,
  type KubeCredentials,
  NOT_IN_A_POD,
} from './access.ts'
import { type PluginRunner, pluginRunner } from './credential-plugin.ts'
import { kubeconfigDocument } from './kubeconfig-document.ts'

type Loaded = {
  readonly config: KubeConfig
  /** How messages about it begin. */
  readonly name: string
  readonly plugin: PluginRunner
  readonly timeoutMs: number
  readonly clock: SteadyClock
}

const PLUGIN_TIMEOUT_MS = 20_000
/** A plugin's credential or a provider's token may be requested this often: `KubeConfig` knows when it has expired. */
const EXPIRING_REREAD_MS = 1000
/** A plugin whose credential the API server refuses is run again, but not for every request. */
const REFUSED_PLUGIN_MS = 10_000
/** Longer than the slowest plugin may take. */
const GRACE_MS = 5000
const TIMED_OUT = 'TIMED_OUT'
const PROVIDER_REMEDIES: Readonly<Record<string, string>> = {
  oidc: ', and name a CA of its issuer that is not a public one in NODE_EXTRA_CA_CERTS',
}

/**
 * Access by the current context of a kubeconfig file, in YAML or JSON.
 *
 * @param options `pluginTimeoutMs`: for one run of a credential plugin
 * @throws {KubeAccessError} with the remedy, also if there is no credential
 */
export async function kubeconfigAccess(
  path: string,
  options: { readonly pluginTimeoutMs?: number; readonly clock?: SteadyClock } = {},
): Promise<KubeAccess> {
  const name = `kubeconfig ${path}`
  const [{ text, unsupported }, { KubeConfig }] = await Promise.all([
    kubeconfigDocument(path),
    configModule(),
  ])
  const config = new KubeConfig()
  // Other contexts are not checked.
  config.loadFromString(text, { onInvalidEntry: 'filter' })
  config.makePathsAbsolute(dirname(path))
  const context = config.getContextObject(config.currentContext)
  if (context === null)
    throw accessError(
      name,
      config.currentContext
        ? `it has no context named ${JSON.stringify(config.currentContext)} with a cluster`
        : 'it has no context that is in use; choose one with: kubectl config use-context NAME',
    )
  const cluster = config.getCluster(context.cluster)
  if (cluster === null)
    throw accessError(name, `it has no cluster named ${JSON.stringify(context.cluster)} with a server URL`)
  if (!URL.canParse(cluster.server)) throw accessError(name, 'its cluster has no server URL')
  const user = config.getCurrentUser()
  if (user === null) throw accessError(name, `it has no user named ${JSON.stringify(context.user)}`)
  makeIssuerUrl(user)
  const foreign = unsupported(context.user)
  if (foreign !== undefined)
    throw accessError(
      name,
      `its user has ${foreign}, which is not supported; use a user with its own credentials`,
    )
  const access = accessBy(config, name, options.pluginTimeoutMs, options.clock)
  await access.read()
  return access
}

/**
 * Access from inside the cluster, by the environment and the projected service-account volume.
 *
 * @param root directory under which the volume's path is looked up, for tests
 * @throws {KubeAccessError} outside a cluster
 */
export async function podAccess(root = ''): Promise<KubeAccess> {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = process.env
  if (!host || !port) throw new KubeAccessError(NOT_IN_A_POD)
  const { KubeConfig } = await configModule()
  const config = new KubeConfig()
  config.loadFromCluster(root)
  return accessBy(config, 'the service account of this pod')
}

/** 2.0.1 hands the issuer of OIDC tokens to openid-client as it finds it, which takes only a `URL`. */
function makeIssuerUrl({ authProvider }: User): void {
  const issuer: unknown = authProvider?.config?.['idp-issuer-url']
  if (typeof issuer === 'string' && URL.canParse(issuer))
    authProvider.config['idp-issuer-url'] = new URL(issuer)
}

const configModule = () => import('@kubernetes/client-node/dist/config.js')

function accessBy(
  config: KubeConfig,
  name: string,
  pluginTimeoutMs = PLUGIN_TIMEOUT_MS,
  clock: SteadyClock = systemClock,
): KubeAccess {
  const plugin = pluginRunner(pluginTimeoutMs)
  const loaded = { config, name, plugin, timeoutMs: pluginTimeoutMs + GRACE_MS, clock }
  const [cluster, user] = [config.getCurrentCluster(), config.getCurrentUser()]
  if (cluster === null || user === null) throw accessError(name, 'it has no cluster and user')
  const { server, tlsServerName, skipTLSVerify, proxyUrl } = cluster
  const isPlain = !proxyUrl && server.startsWith('https:')
  return {
    server: new URL(server),
    ...(tlsServerName ? { serverName: tlsServerName } : {}),
    ...(skipTLSVerify ? { isInsecure: true } : {}),
    ...(expires(user) ? { rereadMs: EXPIRING_REREAD_MS } : {}),
    // One reading at a time: a plugin is not started for every request.
    read: singleFlight(reader(loaded, user)),
    ...(isPlain ? {} : { agent: (credentials) => agentFor(config, credentials) }),
  }
}

/** Whether `KubeConfig` gets its credential from a source that reports when it expires. */
const expires = ({ exec, authProvider }: User) =>
  Boolean(exec) || (Boolean(authProvider) && authProvider.name !== 'tokenFile')

/**
 * Each reading has a `KubeConfig` of its own, which remembers nothing of files and tokens; what OIDC has refreshed is in the
 * user itself. Only the credential of a plugin is kept, until it expires or the API server refuses it.
 */
function reader({ config, name, plugin, timeoutMs, clock }: Loaded, user: User) {
  let kept: KubeConfig | undefined
  let startedAt = Number.NEGATIVE_INFINITY
  let failure: { readonly error: KubeAccessError; readonly at: number } | undefined
  return async (isRefused = false): Promise<KubeCredentials> => {
    if (expires(user) && failure !== undefined && clock.monotonic() - failure.at < EXPIRING_REREAD_MS)
      throw failure.error
    if (isRefused && clock.monotonic() - startedAt >= REFUSED_PLUGIN_MS) kept = undefined
    if (kept === undefined || !user.exec) {
      kept = await copyOf(config, plugin)
      startedAt = clock.monotonic()
    }
    try {
      // An OIDC issuer, unlike a plugin, cannot be ended. Not the clock of tests: what is waited for takes real time.
      return await withTimeout(systemClock, credentialsBy(kept, user), timeoutMs, () => {
        const message = `it gave no credential within ${timeoutMs / 1000} s`
        return Object.assign(new Error(message), { code: TIMED_OUT })
      })
    } catch (error) {
      // `ExecAuth` keeps also what it could not use.
      kept = undefined
      failure = { error: accessError(name, problemOf(error, user, plugin)), at: clock.monotonic() }
      throw failure.error
    }
  }
}

async function copyOf(config: KubeConfig, plugin: PluginRunner): Promise<KubeConfig> {
  const { KubeConfig } = await configModule()
  const { clusters, users, contexts, currentContext } = config
  const copy = new KubeConfig()
  copy.loadFromOptions({ clusters, users, contexts, currentContext })
  // There is no public way to run plugins within bounds.
  for (const authenticator of Reflect.get(copy, 'authenticators') as object[])
    if ('execFn' in authenticator) authenticator.execFn = plugin.spawn
  return copy
}

async function credentialsBy(config: KubeConfig, user: User): Promise<KubeCredentials> {
  const options: RequestOptions = {}
  await config.applyToHTTPSOptions(options)
  const { Authorization: authorization, ...others } = options.headers as Record<string, string>
  const token = /^Bearer\s+(.*)$/s.exec(authorization ?? '')?.[1]?.trim()
  const { ca, cert, key, auth } = options
  const basic = auth && !token ? { authorization: `Basic ${Buffer.from(auth).toString('base64')}` } : {}
  const headers = { ...others, ...basic }
  if ((user.exec || user.authProvider) && !token && !cert) throw new Error('it gives no credential')
  return {
    ...(ca ? { ca: String(ca) } : {}),
    ...(cert ? { cert: String(cert) } : {}),
    ...(key ? { key: String(key) } : {}),
    ...(token ? { token } : {}),
    ...(Object.keys(headers).length > 0 ? { headers } : {}),
  }
}

/** The error, without anything that a plugin or a provider has printed to stdout, because that may be a token. */
function problemOf(error: unknown, user: User, plugin: PluginRunner): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code !== undefined && 'path' in (error as object) && !('spawnargs' in (error as object))) return message
  if (user.exec) {
    const does = plugin.problem() ?? 'printed no ExecCredential with a token or a client certificate'
    return `its credential plugin ${JSON.stringify(user.exec.command)} ${does}`
  }
  if (user.authProvider && code !== TIMED_OUT) {
    const { name } = user.authProvider
    const [about, remedy] = [code === undefined ? '' : ` (${code})`, PROVIDER_REMEDIES[name] ?? '']
    return `its auth provider ${JSON.stringify(name)} has no valid token${about}; log in again${remedy}`
  }
  return message
}

/**
 * Makes connections as `KubeConfig` does. It keeps an agent for good, with the certificates of its first use: hence a
 * `KubeConfig` that knows the place alone, for one set of credentials.
 */
async function agentFor(config: KubeConfig, { ca, cert, key }: KubeCredentials): Promise<Agent> {
  const { KubeConfig } = await configModule()
  const cluster = config.getCurrentCluster()
  if (cluster === null) throw new KubeAccessError('there is no cluster')
  const { caFile: _, caData: __, ...elsewhere } = cluster
  const place = new KubeConfig()
  place.loadFromClusterAndUser(elsewhere, { name: 'any' })
  const options: RequestOptions = { ca, cert, key }
  await place.applyToHTTPSOptions(options)
  // It makes agents that open a connection for every request.
  return Object.assign(options.agent as Agent, { keepAlive: true, maxSockets: 16 })
}
