/**
 * Runs in the node's network namespace and makes the connections of the kubelet's httpGet and tcpSocket probes: one JSON
 * request per line on stdin, one JSON answer per line on stdout.
 */
import { request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import type { DialAnswer, DialRequest } from './dialer.ts'

createInterface({ input: process.stdin }).on('line', async (line) => {
  const request: DialRequest & { id: number } = JSON.parse(line)
  const answer = await (request.kind === 'http' ? http(request) : tcp(request))
  process.stdout.write(`${JSON.stringify({ id: request.id, ...answer })}\n`)
})

function http({ url, headers, timeout }: DialRequest & { kind: 'http' }): Promise<DialAnswer> {
  return new Promise((resolve) => {
    const secure = url.startsWith('https:')
    const signal = AbortSignal.timeout(timeout)
    // The kubelet does not verify certificates, and takes 200-399 as success.
    const options = { headers, signal, agent: false, ...(secure ? { rejectUnauthorized: false } : {}) }
    const call = (secure ? requestHttps : requestHttp)(url, options, (response) => {
      const { statusCode = 0 } = response
      response.resume()
      response.on('error', () => {})
      resolve({
        ok: statusCode >= 200 && statusCode < 400,
        detail: `HTTP probe failed with statuscode: ${statusCode}`,
      })
    })
    call.on('error', (error) => resolve({ ok: false, detail: `Get "${url}": ${error.message}` }))
    call.end()
  })
}

function tcp({ host, port, timeout }: DialRequest & { kind: 'tcp' }): Promise<DialAnswer> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout })
    const finish = (ok: boolean, detail: string) => {
      socket.destroy()
      resolve({ ok, detail })
    }
    socket.on('connect', () => finish(true, ''))
    socket.on('timeout', () => finish(false, `dial tcp ${host}:${port}: i/o timeout`))
    socket.on('error', (error) => finish(false, `dial tcp ${host}:${port}: ${error.message}`))
  })
}
