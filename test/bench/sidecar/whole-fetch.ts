/** A whole credential fetch as SDKs make it: PUT for a token, the list, the document, on one connection. */
import type { Socket } from 'node:net'
import { requestBytes } from '../../sidecar/support/index.ts'
import { exchanged } from '../load.ts'

const LIST_PATH = '/latest/meta-data/iam/security-credentials/'
const TTL = { 'X-aws-ec2-metadata-token-ttl-seconds': '21600' } as const

/** Fetches once; throws if an answer is not 200. */
export async function wholeFetch(socket: Socket): Promise<void> {
  const token = await ask(socket, { method: 'PUT', path: '/latest/api/token', headers: TTL })
  const headers = { 'X-aws-ec2-metadata-token': token }
  const role = await ask(socket, { path: LIST_PATH, headers })
  await ask(socket, { path: `${LIST_PATH}${role}`, headers })
}

async function ask(socket: Socket, request: Parameters<typeof requestBytes>[0]): Promise<string> {
  const { status, body } = await exchanged(socket, requestBytes(request))
  if (status !== 200) throw new Error(`${request.method ?? 'GET'} ${request.path}: ${status}`)
  return body
}
