/** The parts of HTTP that both servers need: a bounded body, the peer, a wait that ends with the connection, an answer. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { listenAt } from '../listen.ts'
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

/** The address that a request comes from, IPv4 in its own form. */
export function peerOf(socket: { readonly remoteAddress?: string | undefined }): string {
  return (socket.remoteAddress ?? '').replace(/^::ffff:/, '')
}

/** Waits, or resolves early when the client disconnects. */
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

/** Carries out a hang or a close: no answer, and finally no connection. */
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

/** Listens on `host:port`. Resolves with the bound `host:port`. */
export async function listen(server: Server, address: string): Promise<string> {
  const { host, port } = splitHostPort(address)
  const bound = await listenAt(server, host, port).catch((error: unknown) => {
    throw new Error(`cannot listen on ${address}: ${String(error)}`, { cause: error })
  })
  return host.includes(':') ? `[${host}]:${bound}` : `${host}:${bound}`
}
