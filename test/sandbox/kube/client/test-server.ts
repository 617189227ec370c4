/** An API server for each test file, and objects for its tests. */
import { mkdtemp, rm } from 'node:fs/promises'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { ApiServer, type ApiServerOptions, isStandIn, type KubeObject } from './client.ts'

/** Starts a server before the tests of the file and stops it after them; call the result to get it. */
export function testServer(options: Partial<ApiServerOptions> = {}): () => ApiServer {
  let server: ApiServer | undefined
  let directory = ''
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kube-'))
    server = await ApiServer.start({ directory, ...options })
  })
  after(async () => {
    await server?.stop()
    await rm(directory, { recursive: true, force: true })
  })
  return () => {
    if (server === undefined) throw new Error('The server has not started.')
    return server
  }
}

type Body = () => Promise<void> | void

/** A test of what only a stand-in can do: it does not exist for a real API server. */
export function standInOnly(name: string, ...rest: [Body] | [{ skip?: string }, Body]): void {
  if (!isStandIn()) return
  if (rest.length === 2) test(name, ...rest)
  else test(name, ...rest)
}

/**
 * An IPv4 address of this machine that a pod's status may have: a real API server accepts no loopback address behind a
 * Service. A machine without a network has only loopback.
 */
export function podAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  const outward = all.find(({ family, internal }) => family === 'IPv4' && !internal)?.address
  return isStandIn() ? '127.0.0.1' : (outward ?? '127.0.0.1')
}

export function pod(name: string, namespace = 'default', more: Partial<KubeObject> = {}): KubeObject {
  const { metadata, spec, ...rest } = more
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, ...metadata },
    spec: { containers: [{ name: 'app', image: 'app:1' }], ...(spec as object) },
    ...rest,
  }
}

export function namespace(name: string, labels: Record<string, string> = {}): KubeObject {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }
}
