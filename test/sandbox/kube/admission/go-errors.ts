/** Errors of Node's TLS and sockets, worded as by Go's net/http, because users of a real cluster read those. */
import { isIP } from 'node:net'
import type { DetailedPeerCertificate } from 'node:tls'
import { hostPort } from '../../../../common/addresses.ts'

type Failed = Error & {
  readonly code?: string
  readonly address?: string
  readonly port?: number
  readonly host?: string
  readonly cert?: DetailedPeerCertificate
  readonly syscall?: string
}

const DIAL: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connect: connection refused',
  EHOSTUNREACH: 'connect: no route to host',
  ENETUNREACH: 'connect: network is unreachable',
  ETIMEDOUT: 'i/o timeout',
}
const UNKNOWN_AUTHORITY = new Set([
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_GET_ISSUER_CERT',
  'CERT_SIGNATURE_FAILURE',
  'ERR_TLS_CERT_SIGNATURE_ALGORITHM_UNSUPPORTED',
])
const TLS = 'tls: failed to verify certificate: x509: '

/** For an address Go lists the certificate's addresses, otherwise its DNS names. */
function altNames(certificate: DetailedPeerCertificate | undefined, wanted: string): string {
  const prefix = isIP(wanted) === 0 ? 'DNS:' : 'IP Address:'
  const names = (certificate?.subjectaltname ?? '').split(', ')
  return names
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length))
    .join(', ')
}

/**
 * @param serverName the name the certificate was checked against
 * @param now milliseconds, for the text about expiry
 */
export function goError(error: unknown, serverName: string, now: number): string {
  if (!(error instanceof Error)) return String(error)
  const { code = '', address, port, host, cert } = error as Failed
  const dial = DIAL[code]
  if (dial !== undefined && address !== undefined) return `dial tcp ${hostPort(address, port ?? 0)}: ${dial}`
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return `dial tcp: lookup ${host ?? serverName}: no such host`
  if (UNKNOWN_AUTHORITY.has(code)) return `${TLS}certificate signed by unknown authority`
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID')
    return `${TLS}certificate has expired or is not yet valid: current time ${new Date(now).toISOString().slice(0, 19)}Z`
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `${TLS}certificate is valid for ${altNames(cert, serverName)}, not ${serverName}`
  if (code === 'ECONNRESET')
    return /socket hang up|disconnected before/.test(error.message) ? 'EOF' : 'read: connection reset by peer'
  if (code === 'EPIPE') return 'write: broken pipe'
  if (code === 'EPROTO' || code.startsWith('ERR_SSL')) return `tls: ${error.message}`
  return error.message
}

const STATUS_TEXTS: Readonly<Record<number, string>> = {
  400: 'the server rejected our request for an unknown reason',
  401: 'the server has asked for the client to provide credentials',
  404: 'the server could not find the requested resource',
  405: 'the server does not allow this method on the requested resource',
  413: 'the server responded with the status code 413 but did not return more information',
  429: 'the server has received too many requests and has asked us to try again later',
  503: 'the server is currently unable to handle the request',
}

/** client-go's text for an HTTP status (k8s.io/apimachinery/pkg/api/errors NewGenericServerResponse). */
export function statusText(code: number, body: string): string {
  if (code === 403) return `forbidden: ${body.trim().slice(0, 2048) || 'unknown'}`
  const text = STATUS_TEXTS[code]
  if (text !== undefined) return text
  if (code >= 500)
    return `an error on the server (${JSON.stringify(body.trim().slice(0, 2048) || 'unknown')}) has prevented the request from succeeding`
  return `the server responded with the status code ${code} but did not return more information`
}
