/** Commands in containers through the exec subresource, over a websocket. */
import { PassThrough, Writable } from 'node:stream'
import { Exec, type KubeConfig, type V1Status } from '@kubernetes/client-node'
import type { ClusterAccess, Executed } from './access.ts'

const TIMEOUT_MS = 30_000
const OUTPUT_LIMIT = 8 * 1024 * 1024

/** `exec` of a cluster; rejects when the connection breaks, or the command has not ended after 30 s. */
export function execIn(config: KubeConfig): ClusterAccess['exec'] {
  const exec = new Exec(config)
  return async ({ namespace, name }, container, argv, input) => {
    const where = `a command in ${namespace}/${name}`
    const { promise, resolve, reject } = Promise.withResolvers<Executed>()
    const [stdout, stderr] = [gather(), gather()]
    const stdin = input === undefined ? null : new PassThrough()
    // Never ended: before v5 of the protocol (Kubernetes 1.30) the client would close the connection with it.
    stdin?.write(input)
    const ended = (status: V1Status) =>
      resolve({ code: exitCode(status), stdout: stdout.text(), stderr: stderr.text() })
    const timer = setTimeout(() => reject(new Error(`${where} did not end in ${TIMEOUT_MS} ms`)), TIMEOUT_MS)
    exec
      .exec(namespace, name, container, [...argv], stdout.stream, stderr.stream, stdin, false, ended)
      .then((socket) => {
        socket.onerror = ({ message }: { message: string }) => reject(new Error(`${where}: ${message}`))
        socket.onclose = ({ reason }: { reason: string }) => reject(new Error(`${where} was cut: ${reason}`))
        promise.finally(() => socket.close()).catch(() => undefined)
      })
      .catch((error: unknown) => reject(new Error(`${where}: ${messageOf(error)}`)))
    return promise.finally(() => clearTimeout(timer))
  }
}

/** Reads the last message of an exec: `Success`, or `NonZeroExitCode` with the code as a cause; others are errors of the runtime. */
function exitCode({ status, details }: V1Status): number {
  if (status === 'Success') return 0
  const cause = details?.causes?.find(({ reason }) => reason === 'ExitCode')
  return cause?.message === undefined ? 126 : Number(cause.message)
}

/** A websocket that cannot be opened reports an event, not an Error. */
function messageOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'message' in error
    ? String(error.message)
    : String(error)
}

/** Not a PassThrough, because its last chunk may arrive after the status. */
function gather() {
  const chunks: Buffer[] = []
  let length = 0
  const stream = new Writable({
    write(chunk: Buffer, _, done) {
      length += chunk.length
      if (length <= OUTPUT_LIMIT) chunks.push(chunk)
      done()
    },
  })
  return { stream, text: () => Buffer.concat(chunks).toString() }
}
