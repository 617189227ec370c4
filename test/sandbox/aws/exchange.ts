/** What both servers need of HTTP: a bounded body, the peer, a wait that ends with the connection, an answer. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { splitHostPort } from './config.ts'
import { HANG_DEFAULT_MS, HANG_MAX_MS } from './faults.ts'
import type { FaultEffect } from './model.ts'

const MAX_BODY = 256 * 1024

/** Reads a request's body; undefined when it is longer than 256 KiB. */
export async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue
    length += chunk.length
    if (length > MAX_BODY) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** The address a request comes from, IPv4 in its own form. */
export function peerOf(socket: { readonly remoteAddress?: string | undefined }): string {
  return (socket.remoteAddress ?? '').replace(/^::ffff:/, '')
}

/** Waits, or resolves early when the client goes away. */
export function wait(milliseconds: number, response: ServerResponse): Promise<void> {
  if (milliseconds <= 0) return Promise.resolve()
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      response.off('close', done)
      resolve()
    }
    const timer = setTimeout(done, milliseconds)
    response.on('close', done)
  })
}

/** Carries out a hang or a close: no answer, and in the end no connection. */
export async function sayNothing(effect: FaultEffect, response: ServerResponse): Promise<void> {
  if (effect.kind === 'hang') await wait(Math.min(effect.ms ?? HANG_DEFAULT_MS, HANG_MAX_MS), response)
  response.destroy()
}

/** Header names and values in order of arrival. */
export function headerPairs(request: IncomingMessage): [string, string][] {
  const pairs: [string, string][] = []
  for (let i = 0; i + 1 < request.rawHeaders.length; i += 2)
    pairs.push([request.rawHeaders[i] ?? '', request.rawHeaders[i + 1] ?? ''])
  return pairs
}

// In a namespace made a moment ago an IPv6 address is tentative (not yet bindable) for a second or two.
const BIND_DEADLINE_MS = 60_000

/** Listens on `host:port`; retries while the address is not there yet. Resolves with the bound `host:port`. */
export async function listen(server: Server, address: string): Promise<string> {
  const { host, port } = splitHostPort(address)
  const deadline = Date.now() + BIND_DEADLINE_MS
  for (;;) {
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen({ host, port, exclusive: true, ipv6Only: host.includes(':') }, () => {
          server.off('error', reject)
          resolve()
        })
      })
      break
    } catch (error) {
      const tentative =
        host.includes(':') && error instanceof Error && 'code' in error && error.code === 'EADDRNOTAVAIL'
      if (!tentative || Date.now() > deadline)
        throw new Error(`cannot listen on ${address}: ${String(error)}`, { cause: error })
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error(`no address bound for ${address}`)
  return host.includes(':') ? `[${host}]:${bound.port}` : `${host}:${bound.port}`
}
