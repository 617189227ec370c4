/**
 * Connections into containers: `pods/exec` and `pods/portforward` by WebSocket, admitted here and served by the kubelet, to which the
 * upgraded connection is passed on byte by byte, as the real API server does (k8s.io/apimachinery/pkg/util/proxy). And `pods/log`.
 */
import { type IncomingMessage, request as requestHttp, STATUS_CODES } from 'node:http'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { admissionRequest, type Caller, type Target } from '../admission/admission-request.ts'
import { authenticate } from '../auth/authn.ts'
import { authorize, refusal } from '../auth/rbac.ts'
import { type KubeObject, listAt, stringAt } from '../objects/objects.ts'
import { badRequest, failure, forbidden } from '../objects/status.ts'
import { statusOf } from './http.ts'
import type { Operations } from './operations.ts'
import { KUBELET_SOCKET } from './protocol.ts'
import { requestInfo } from './request-info.ts'
import type { ServerParts } from './routes.ts'

const OPTIONS: Readonly<Record<string, string>> = {
  exec: 'PodExecOptions',
  attach: 'PodAttachOptions',
  portforward: 'PodPortForwardOptions',
}

/** Admits a connection into a pod: CONNECT, with the subresource's options as its object. */
export async function admitConnection(
  operations: Operations,
  target: Target,
  name: string,
  container: string | null,
  caller: Caller,
): Promise<KubeObject> {
  const pod = operations.get(target, name)
  // These kinds have no `metadata`, but every object of the sandbox has one.
  const object: KubeObject = {
    apiVersion: 'v1',
    kind: OPTIONS[target.subresource ?? ''] ?? '',
    metadata: {},
    ...(container === null ? {} : { container }),
  }
  const objects = { object, oldObject: undefined }
  await operations.admission.validate(admissionRequest('CONNECT', target, name, objects, {}, caller))
  return pod
}

/** Serves `GET …/log`. */
export async function podLog(
  directory: string,
  pod: KubeObject,
  query: URLSearchParams,
): Promise<{ status: number; text: string }> {
  const path = kubeletPath('containerLogs', pod, containerOf(pod, query), query)
  return new Promise((resolve, reject) => {
    const call = requestHttp({ socketPath: join(directory, KUBELET_SOCKET), path }, (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('end', () =>
        resolve({ status: answer.statusCode ?? 500, text: Buffer.concat(chunks).toString() }),
      )
    })
    call.on('error', reject)
    call.end()
  })
}

export type Upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

/** Handles requests for an upgrade. */
export function createUpgradeHandler(
  parts: Pick<ServerParts, 'store' | 'tokens' | 'adminToken' | 'faults'>,
  operations: Operations,
  directory: string,
): Upgrade {
  return function upgrade(request, socket, head) {
    socket.on('error', () => socket.destroy())
    connected(request)
      .then((path) => passOn(join(directory, KUBELET_SOCKET), path, request, socket, head))
      .catch((error) => refuse(socket, statusOf(error)))
  }

  async function connected(request: IncomingMessage): Promise<string> {
    const info = requestInfo('GET', request.url ?? '/')
    const user = await authenticate(request.headers, parts.adminToken, parts.tokens)
    const { resource, subresource = '', namespace, name = '', query } = info
    if (resource?.plural !== 'pods' || !['exec', 'portforward'].includes(subresource))
      throw badRequest('the sandbox upgrades pods/exec and pods/portforward')
    // The verb of a WebSocket is that of GET; since Kubernetes 1.35 `create` must be allowed as well.
    for (const verb of ['get', 'create']) {
      const asked = { verb, group: '', resource: 'pods', subresource, namespace, name }
      if (!authorize(parts.store, user, asked)) throw forbidden(resource, name, refusal(user, asked))
    }
    const caller: Caller = { user, dryRun: false, fieldValidation: 'Ignore', warn: () => {}, audit: () => {} }
    const target: Target = { resource, subresource, namespace }
    const pod = await admitConnection(operations, target, name, query.get('container'), caller)
    if (subresource === 'portforward') return kubeletPath('portForward', pod, undefined, query)
    return kubeletPath('exec', pod, containerOf(pod, info.query), query)
  }
}

function containerOf(pod: KubeObject, query: URLSearchParams): string {
  const names = ['initContainers', 'containers'].map((list) =>
    listAt(pod, 'spec', list).map((one) => stringAt(one, 'name') ?? ''),
  )
  const [inits = [], own = []] = names
  const wanted = query.get('container') ?? (own.length === 1 ? own[0] : undefined)
  const { name } = pod.metadata
  if (wanted === undefined)
    throw badRequest(
      `a container name must be specified for pod ${name}, choose one of: [${[...inits, ...own].join(' ')}]`,
    )
  if (![...inits, ...own].includes(wanted))
    throw badRequest(`container ${wanted} is not valid for pod ${name}`)
  return wanted
}

function kubeletPath(
  what: string,
  pod: KubeObject,
  container: string | undefined,
  query: URLSearchParams,
): string {
  const { namespace = '', name = '' } = pod.metadata
  if (!stringAt(pod, 'spec', 'nodeName')) throw badRequest(`pod ${name} does not have a host assigned`)
  const parts = [what, namespace, name, ...(container === undefined ? [] : [container])]
  return `/${parts.map(encodeURIComponent).join('/')}?${query}`
}

/** The kubelet answers the upgrade itself. */
function passOn(
  socketPath: string,
  path: string,
  { headers }: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): void {
  const { authorization: _, ...passed } = headers
  const call = requestHttp({ socketPath, path, headers: passed })
  call.on('error', () => refuse(socket, failure(502, 'BadGateway', 'the kubelet does not answer').status))
  call.on('upgrade', (answer, far, farHead) => {
    const lines = answer.rawHeaders.flatMap((name, index, all) =>
      index % 2 === 0 ? [`${name}: ${all[index + 1]}`] : [],
    )
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\n\r\n`)
    socket.write(farHead)
    far.write(head)
    far.pipe(socket).pipe(far)
    far.on('error', () => socket.destroy())
    socket.on('close', () => far.destroy())
  })
  call.on('response', (answer) => {
    answer.resume()
    refuse(socket, failure(answer.statusCode ?? 500, 'InternalError', 'the kubelet refuses').status)
  })
  call.end()
}

function refuse(socket: Duplex, status: { readonly code?: number }): void {
  const code = status.code ?? 500
  const body = JSON.stringify(status)
  socket.end(
    `HTTP/1.1 ${code} ${STATUS_CODES[code] ?? ''}\r\ncontent-type: application/json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  )
}
