/** Reads a kubeconfig file in the form that `KubeConfig` of @kubernetes/client-node can read. */
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { accessError } from './access.ts'

type Entry = Record<string, unknown>

/** `KubeConfig` would ignore these, and act with other permissions than those that the file specifies. */
const UNSUPPORTED_USERS = ['as-groups', 'as-uid', 'as-user-extra'] as const

/**
 * Reads a kubeconfig in YAML or JSON.
 *
 * @returns `text`: JSON, in which everything is adapted that `KubeConfig` does not read, or reads differently from kubectl;
 *   `unsupported`: a function that names the setting of a user which `KubeConfig` would ignore, if there is one
 * @throws {KubeAccessError} with the remedy
 */
export async function kubeconfigDocument(path: string) {
  const name = `kubeconfig ${path}`
  const content = await readFile(path, 'utf8').catch((error: Error) => {
    throw accessError(name, `it cannot be read (${error.message}); give a file with --kubeconfig`)
  })
  const document = await parse(name, content)
  return {
    text: JSON.stringify(adapted(path, document)),
    unsupported: (user: unknown) => unsupportedOf(document, user),
  }
}

/** The document of a kubeconfig. Messages of the parser quote the file, which has secrets in it: only the line is shown. */
async function parse(name: string, content: string): Promise<Entry> {
  const { load, YAMLException } = await import('js-yaml')
  const document = (() => {
    try {
      return load(content)
    } catch (error) {
      const line = error instanceof YAMLException ? error.mark?.line : undefined
      const where = line === undefined ? '' : ` (line ${line + 1})`
      throw accessError(name, `it is neither YAML nor JSON${where}`)
    }
  })()
  if (!isEntry(document)) throw accessError(name, 'it is not a kubeconfig')
  return document
}

/** Rewrites what `KubeConfig` does not read, or reads differently from kubectl, to a form that it understands. */
function adapted(path: string, document: Entry): Entry {
  const inPlace = (list: unknown, kind: string, adapt: (entry: Entry) => Entry) =>
    Array.isArray(list)
      ? list.filter(isEntry).map((named) => {
          const entry = named[kind]
          return isEntry(entry) ? { ...named, [kind]: adapt(entry) } : named
        })
      : []
  const { contexts, clusters, users } = document
  return {
    ...document,
    contexts: Array.isArray(contexts) ? contexts.filter(isEntry) : [],
    clusters: inPlace(clusters, 'cluster', (cluster) => dataFirst(cluster, ['certificate-authority'])),
    users: inPlace(users, 'user', (user) => adaptedUser(path, user)),
  }
}

function adaptedUser(path: string, given: Entry): Entry {
  const user = dataFirst(given, ['client-certificate', 'client-key'])
  const { tokenFile = user['token-file'], exec, 'auth-provider': provider, ...others } = user
  // As kubectl: a path is relative to the kubeconfig, and a token's file counts before a token.
  if (typeof tokenFile === 'string' && tokenFile !== '') {
    const { token: _, 'token-file': __, ...rest } = others
    const config = { tokenFile: resolve(dirname(path), tokenFile) }
    return { ...rest, 'auth-provider': { name: 'tokenFile', config } }
  }
  return {
    ...others,
    ...(isEntry(exec) ? { exec: adaptedPlugin(path, exec) } : {}),
    ...(isEntry(provider) ? { 'auth-provider': adaptedProvider(provider) } : {}),
  }
}

/** A command with a slash is relative to the kubeconfig; plugins want to know which version of ExecCredential to print. */
function adaptedPlugin(path: string, exec: Entry): Entry {
  const { command, apiVersion = 'client.authentication.k8s.io/v1' } = exec
  const info = { kind: 'ExecCredential', apiVersion, spec: { interactive: false } }
  const asked = { name: 'KUBERNETES_EXEC_INFO', value: JSON.stringify(info) }
  return {
    ...exec,
    command: typeof command === 'string' && command.includes('/') ? resolve(dirname(path), command) : command,
    env: [...(Array.isArray(exec.env) ? exec.env.filter(isEntry) : []), asked],
  }
}

/**
 * With a CA for the issuer of OIDC tokens, 2.0.1 cannot refresh them: it hands `URLSearchParams` to `request.write`. Without
 * it fetch is used, which trusts the CAs of the process.
 */
function adaptedProvider(provider: Entry): Entry {
  if (provider.name !== 'oidc' || !isEntry(provider.config)) return provider
  const { 'idp-certificate-authority': _, 'idp-certificate-authority-data': __, ...config } = provider.config
  return { ...provider, config }
}

/** Where there are both data and a file, the data count, as for kubectl. */
function dataFirst(entry: Entry, names: readonly string[]): Entry {
  const doubled = names.filter((name) => entry[`${name}-data`])
  return Object.fromEntries(Object.entries(entry).filter(([name]) => !doubled.includes(name)))
}

function unsupportedOf({ users }: Entry, name: unknown): string | undefined {
  const named: unknown = Array.isArray(users) ? users.find((user) => user?.name === name) : undefined
  const user = isEntry(named) ? named.user : undefined
  return isEntry(user) ? UNSUPPORTED_USERS.find((key) => user[key] !== undefined) : undefined
}

const isEntry = (value: unknown): value is Entry =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
