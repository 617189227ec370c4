import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { type KubeAccess, KubeAccessError, type KubeCredentials } from './access.ts'

type Named = { readonly name?: string } & Readonly<Record<string, Readonly<Record<string, unknown>>>>
type Kubeconfig = Readonly<Record<'clusters' | 'users' | 'contexts', readonly Named[]>> & {
  readonly 'current-context'?: string
}

/** User entries that need another program or another protocol; refused, never ignored. */
const FOREIGN_USERS = ['exec', 'auth-provider', 'username', 'as'] as const

/**
 * Access by the current context of a kubeconfig file in JSON. YAML is not read: a parser would be loaded into
 * every node's broker for what only a developer needs.
 *
 * @throws {KubeAccessError} with the remedy
 */
export async function kubeconfigAccess(path: string): Promise<KubeAccess> {
  const content = await readFile(path, 'utf8').catch((error: Error) => {
    throw wrong(path, `it cannot be read (${error.message}); give a file with --kubeconfig`)
  })
  const config = parse(path, content)
  const context = entry(path, config, 'contexts', config['current-context'], 'context')
  const cluster = entry(path, config, 'clusters', context.cluster, 'cluster')
  const user = entry(path, config, 'users', context.user, 'user')
  const foreign = FOREIGN_USERS.find((key) => user[key] !== undefined)
  if (foreign) throw wrong(path, `its user needs ${foreign}; use a token or a client certificate`)
  if (cluster['insecure-skip-tls-verify'] === true)
    throw wrong(path, 'insecure-skip-tls-verify is not supported; give certificate-authority-data')
  const server = text(cluster.server)
  if (!server || !URL.canParse(server)) throw wrong(path, 'its cluster has no server URL')
  const serverName = text(cluster['tls-server-name'])
  const material = async (from: Readonly<Record<string, unknown>>, key: string) => {
    const data = text(from[`${key}-data`])
    if (data !== undefined) return Buffer.from(data, 'base64').toString('utf8')
    const file = text(from[key])
    return file === undefined ? undefined : readFile(resolve(dirname(path), file), 'utf8')
  }
  const read = async (): Promise<KubeCredentials> => {
    const tokenFile = text(user.tokenFile)
    const token = tokenFile ? await readFile(resolve(dirname(path), tokenFile), 'utf8') : text(user.token)
    return defined({
      ca: await material(cluster, 'certificate-authority'),
      cert: await material(user, 'client-certificate'),
      key: await material(user, 'client-key'),
      token: token?.trim(),
    })
  }
  return { server: new URL(server), ...(serverName ? { serverName } : {}), read }
}

function parse(path: string, content: string): Kubeconfig {
  try {
    return JSON.parse(content)
  } catch {
    throw wrong(path, 'it is not JSON; convert it with: kubectl config view --raw --flatten --output=json')
  }
}

function entry(path: string, config: Kubeconfig, list: keyof Kubeconfig, name: unknown, kind: string) {
  const entries = config[list]
  const found = Array.isArray(entries) ? entries.find((one: Named) => one.name === name)?.[kind] : undefined
  if (typeof found !== 'object') throw wrong(path, `it has no ${kind} named ${JSON.stringify(name)}`)
  return found as Readonly<Record<string, unknown>>
}

function wrong(path: string, detail: string): KubeAccessError {
  return new KubeAccessError(`kubeconfig ${path} cannot be used: ${detail}`)
}

const text = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined)

function defined(values: Readonly<Record<keyof KubeCredentials, string | undefined>>): KubeCredentials {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
}
