/** A small IMDSv2 client, like an SDK without retries. */
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import type { CredentialDocument, Got } from './reports.ts'

const ENDPOINT = process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT ?? 'http://169.254.169.254/'
const ROLES = 'latest/meta-data/iam/security-credentials/'
const TIMEOUT_MS = 5000

/** Sends a request; reads at most a MiB of its body. Never throws: what went wrong is in `error`. */
export function get(
  url: string,
  headers: Readonly<Record<string, string>> = {},
  method = 'GET',
): Promise<Got> {
  const { promise, resolve } = Promise.withResolvers<Got>()
  const failed = ({ code, message }: NodeJS.ErrnoException) =>
    resolve({ status: 0, body: '', error: code ?? message })
  const outgoing = request(url, { method, headers, timeout: TIMEOUT_MS, agent: false }, (response) => {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    response.on('error', failed)
    response.on('end', () =>
      resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
    )
  })
  outgoing.on('timeout', () => outgoing.destroy(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' })))
  outgoing.on('error', failed)
  outgoing.end()
  return promise
}

/** The credential document, or why there is none. */
export async function credentials(): Promise<{ document?: CredentialDocument; problem?: string }> {
  const ttl = { 'x-aws-ec2-metadata-token-ttl-seconds': '60' }
  const token = await get(`${ENDPOINT}latest/api/token`, ttl, 'PUT')
  if (token.status !== 200) return { problem: `token: ${said(token)}` }
  const headers = { 'x-aws-ec2-metadata-token': token.body }
  const list = await get(`${ENDPOINT}${ROLES}`, headers)
  if (list.status !== 200) return { problem: `role list: ${said(list)}` }
  const answer = await get(`${ENDPOINT}${ROLES}${encodeURIComponent(list.body)}`, headers)
  if (answer.status !== 200) return { problem: `credentials: ${said(answer)}` }
  const document = JSON.parse(answer.body) as CredentialDocument
  return document.Code === 'Success' ? { document } : { problem: `credentials: Code ${document.Code}` }
}

/** The same for a client that knows only container credentials, by the variables of its container. */
export async function containerCredentials(): Promise<{
  document?: Omit<CredentialDocument, 'Code'>
  problem?: string
}> {
  const { AWS_CONTAINER_CREDENTIALS_FULL_URI: uri, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file } =
    process.env
  if (uri === undefined || file === undefined)
    return { problem: 'its container has no variables of container credentials' }
  const answer = await get(uri, { authorization: readFileSync(file, 'utf8') })
  return answer.status === 200
    ? { document: JSON.parse(answer.body) }
    : { problem: `container credentials: ${said(answer)}` }
}

const said = ({ status, body, error }: Got) => error ?? `${status} ${body.slice(0, 200)}`
