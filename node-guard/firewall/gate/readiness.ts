import { connect } from 'node:net'
import type { Readiness } from '../../../common/health.ts'
import { timedPromise } from '../../../common/timed-promise.ts'

const MAX_ANSWER = 16 * 1024

/**
 * Asks the sidecar's `/readyz` once; returns its answer, or why it could not be asked; never rejects. Over plain TCP,
 * since loading node:http takes longer than the request and would slow down the start of every pod.
 */
export function askReadiness(url: URL, timeoutMs: number): Promise<Readiness> {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const socket = connect({ host, port: Number(url.port || 80) })
  let answer = ''
  const { promise, resolve: end } = timedPromise<Readiness>(timeoutMs, ({ resolve }) =>
    resolve({ ready: false, code: 'no-answer' }),
  )
  socket.setEncoding('utf8')
  // HTTP/1.0, so that the answer is not chunked.
  socket.on('connect', () =>
    socket.write(`GET ${url.pathname}${url.search} HTTP/1.0\r\nHost: ${url.host}\r\n\r\n`),
  )
  socket.on('data', (chunk: string) => {
    answer += chunk
    if (answer.length > MAX_ANSWER) end({ ready: false, code: 'answer-too-long' })
    else if (isComplete(answer)) end(parseAnswer(answer))
  })
  socket.on('end', () => end(parseAnswer(answer)))
  socket.on('error', (error: NodeJS.ErrnoException) =>
    end({ ready: false, code: error.code === 'ECONNREFUSED' ? 'not-listening' : (error.code ?? 'error') }),
  )
  return promise.finally(() => socket.destroy())
}

function isComplete(answer: string): boolean {
  const body = answer.indexOf('\r\n\r\n')
  const length = /^content-length: *(\d+)/im.exec(answer.slice(0, body))?.[1]
  return body >= 0 && length !== undefined && Buffer.byteLength(answer.slice(body + 4)) >= Number(length)
}

/** Reads an HTTP answer: 200 is ready; else the `code` of its JSON body, or the status. */
export function parseAnswer(answer: string): Readiness {
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(answer)?.[1])
  if (status === 200) return { ready: true, code: 'ready' }
  const code = Number.isNaN(status) ? 'no-http' : `http-${status}`
  try {
    const body = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4)) as {
      code?: unknown
      detail?: unknown
    }
    return {
      ready: false,
      code: typeof body.code === 'string' ? body.code.slice(0, 100) : code,
      ...(typeof body.detail === 'string' ? { detail: body.detail.slice(0, 1000) } : {}),
    }
  } catch {
    return { ready: false, code }
  }
}
