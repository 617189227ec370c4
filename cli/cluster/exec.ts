/** Runs a command in a container and sends a request to a port of a pod, as `kubectl exec` and `kubectl port-forward` do. */
import { PassThrough } from 'node:stream'
import { finished } from 'node:stream/promises'
import { Exec, PortForward, type V1Status } from '@kubernetes/client-node'
import { messageOf } from '../../common/errors.ts'
import type { Cluster } from './cluster.ts'

export type PodName = { readonly namespace: string; readonly name: string }

/** The result. `failed` means that the pod, its node or the container did not allow it, and has the reason. */
export type PodAnswer<T> =
  | { readonly kind: 'reached'; readonly value: T }
  | { readonly kind: 'forbidden' }
  | { readonly kind: 'failed'; readonly detail: string }

/** None of our programs prints more. */
const MAX_BYTES = 8 * 1024 * 1024

/**
 * Runs a command to its end.
 *
 * @param timeoutMs for everything, milliseconds
 * @returns its stdout, regardless of its exit code
 */
export async function execIn(
  cluster: Cluster,
  { namespace, name }: PodName,
  container: string,
  command: readonly string[],
  timeoutMs: number,
): Promise<PodAnswer<string>> {
  const [stdout, stderr] = [collector(), collector()]
  const attempt = async () => {
    const ended = Promise.withResolvers<V1Status>()
    const socket = await new Exec(cluster.config).exec(
      namespace,
      name,
      container,
      [...command],
      stdout.stream,
      stderr.stream,
      null,
      false,
      ended.resolve,
    )
    socket.onclose = () => ended.reject(new Error('the connection ended before the command did'))
    socket.onerror = (event) => ended.reject(new Error(event.message))
    try {
      const status = await ended.promise
      // The client ends both streams when the status arrives, but delivers their buffered data a moment later.
      await Promise.all([finished(stdout.stream), finished(stderr.stream)])
      return status
    } finally {
      socket.terminate()
    }
  }
  return reached(cluster, 'pods/exec', namespace, timeoutMs, async () => {
    const status = await attempt()
    if (status.status !== 'Success' && status.reason !== 'NonZeroExitCode')
      throw new Error(status.message ?? 'the command could not be started')
    // The exit code of our commands says nothing that their output does not say too.
    if (stdout.text() === '' && status.status !== 'Success')
      throw new Error(stderr.text().trim() || (status.message ?? 'it printed nothing'))
    return stdout.text()
  })
}

/** Sends a GET to a port on the pod's loopback; resolves with the body, regardless of the status. */
export async function getFrom(
  cluster: Cluster,
  { namespace, name }: PodName,
  port: number,
  path: string,
  timeoutMs: number,
): Promise<PodAnswer<string>> {
  return reached(cluster, 'pods/portforward', namespace, timeoutMs, async () => {
    const [output, errors] = [collector(), collector()]
    const input = new PassThrough()
    const opened = await new PortForward(cluster.config, true).portForward(
      namespace,
      name,
      [port],
      output.stream,
      errors.stream,
      input,
      0,
    )
    const socket = typeof opened === 'function' ? opened() : opened
    try {
      const failed = new Promise<never>((_, reject) => {
        errors.stream.once('data', (text) => reject(new Error(String(text).trim())))
        if (socket !== null) socket.onclose = () => reject(new Error('the connection ended'))
      })
      const answered = bodyIn(output)
      answered.catch(() => undefined)
      input.write(`GET ${path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
      return await Promise.race([answered, failed])
    } finally {
      socket?.terminate()
    }
  })
}

/** Resolves when the response is complete according to its own length. */
function bodyIn({ stream, text }: Collector): Promise<string> {
  return new Promise((resolve) => {
    const look = () => {
      const [head = '', body] = splitAnswer(text())
      const length = /^content-length: *(\d+)/im.exec(head)?.[1]
      if (body === undefined || length === undefined) return
      if (Buffer.byteLength(body) >= Number(length)) resolve(body)
    }
    stream.on('data', look)
  })
}

function splitAnswer(answer: string): [string, string | undefined] {
  const end = answer.indexOf('\r\n\r\n')
  return end === -1 ? [answer, undefined] : [answer.slice(0, end), answer.slice(end + 4)]
}

async function reached<T>(
  cluster: Cluster,
  resource: string,
  namespace: string,
  timeoutMs: number,
  attempt: () => Promise<T>,
): Promise<PodAnswer<T>> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs)
  })
  try {
    return { kind: 'reached', value: await Promise.race([attempt(), late]) }
  } catch (error) {
    // The client reports a refused upgrade only with this text, as an event that is not an Error.
    const detail = messageOf(
      error instanceof Error ? error : new Error(String((error as Error)?.message ?? error)),
    )
    if (!/Unexpected server response: 403/.test(detail)) return { kind: 'failed', detail }
    cluster.refuse({ verb: 'create', resource, namespace })
    return { kind: 'forbidden' }
  } finally {
    clearTimeout(timer)
  }
}

type Collector = { readonly stream: PassThrough; readonly text: () => string }

function collector(): Collector {
  const chunks: Buffer[] = []
  let size = 0
  const stream = new PassThrough()
  stream.on('data', (chunk: Buffer) => {
    size += chunk.length
    if (size <= MAX_BYTES) chunks.push(chunk)
  })
  return { stream, text: () => Buffer.concat(chunks).toString() }
}
