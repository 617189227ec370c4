/** The program as operators run it: the built bundle, as a process, with a kubeconfig of the sandbox. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import type { ApiServer, KubeClient } from '../sandbox/index.ts'
import { API_SOCKET } from '../sandbox/kube/server/protocol.ts'

export const PROGRAM = fileURLToPath(new URL('../../dist/pod2iam.cjs', import.meta.url))
const TIMEOUT_MS = 120_000

export type Ran = { readonly code: number | null; readonly stdout: string; readonly stderr: string }
export type RunOptions = {
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string
  readonly cwd?: string
}

/** Runs it to its end, without the environment of the tests. */
export function run(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return runCommand([process.execPath, PROGRAM, ...args], options)
}

export function runCommand(
  argv: readonly string[],
  { env = {}, input = '', cwd }: RunOptions = {},
): Promise<Ran> {
  const [command = '', ...args] = argv
  const child = spawn(command, args, {
    env: { PATH: process.env.PATH, HOME: '/nonexistent', ...env },
    stdio: 'pipe',
    ...(cwd === undefined ? {} : { cwd }),
    timeout: TIMEOUT_MS,
  })
  const out = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text) => {
    out.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    out.stderr += text
  })
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, ...out }))
  })
}

/** The width of the widest line, in columns. */
export const widest = (text: string) => Math.max(...text.split('\n').map((line) => [...line].length))

export type Door = {
  /** A kubeconfig in YAML, by default for the admin and for this API server. */
  readonly kubeconfig: (options?: {
    token?: string
    namespace?: string
    server?: string
    ca?: string
  }) => Promise<string>
  readonly close: () => Promise<void>
}

/** Makes the API server available at a port of this machine's loopback, since it listens in its own network namespace. */
export async function openDoor(api: ApiServer): Promise<Door> {
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-cli-'))
  const socket = join(api.directory, API_SOCKET)
  const tcp = new URL(api.url())
  const server = createServer((near) => {
    // A real API server has this socket only if it is in its own network namespace.
    const far = existsSync(socket) ? connect(socket) : connect(Number(tcp.port), tcp.hostname)
    near.pipe(far).pipe(near)
    near.on('error', () => far.destroy()).on('close', () => far.destroy())
    far.on('error', () => near.destroy()).on('close', () => near.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  let count = 0
  return {
    async kubeconfig({
      token = api.adminToken,
      namespace = 'default',
      ca = api.caPem,
      server: url = `https://127.0.0.1:${port}`,
    } = {}) {
      const file = join(directory, `config-${++count}.yaml`)
      const config = {
        apiVersion: 'v1',
        kind: 'Config',
        clusters: [
          {
            name: 'sandbox',
            cluster: {
              server: url,
              'certificate-authority-data': Buffer.from(ca).toString('base64'),
            },
          },
        ],
        users: [{ name: 'operator', user: { token } }],
        contexts: [{ name: 'sandbox', context: { cluster: 'sandbox', user: 'operator', namespace } }],
        'current-context': 'sandbox',
      }
      await writeFile(file, stringify(config), { mode: 0o600 })
      return file
    },
    async close() {
      server.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** Creates a service account with these rights in the whole cluster or in one namespace, and returns its token. */
export async function userWith(
  kube: KubeClient,
  name: string,
  rules: readonly Record<string, readonly string[]>[],
  namespace?: string,
): Promise<string> {
  const at = namespace ?? 'default'
  const metadata = namespace === undefined ? { name } : { name, namespace }
  const kind = namespace === undefined ? 'ClusterRole' : 'Role'
  const apiVersion = 'rbac.authorization.k8s.io/v1'
  await kube.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: at } })
  await kube.create({ apiVersion, kind, metadata, rules })
  await kube.create({
    apiVersion,
    kind: `${kind}Binding`,
    metadata,
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind, name },
    subjects: [{ kind: 'ServiceAccount', name, namespace: at }],
  })
  return (await kube.createToken(at, name)).token
}
