/** What node:http's parser rejects before there is a request, as a reason, a status and the parser's own words. */
import type { Refusal } from '../health/refusals.ts'

/** An error of `clientError`: of llhttp (`HPE_…`), of node:http, or of the socket. */
export type ParserError = Error & {
  readonly code?: string
  /** llhttp's fixed sentence. */
  readonly reason?: string
  /** What was being parsed. */
  readonly rawPacket?: Buffer
  /** How much of it was good. */
  readonly bytesParsed?: number
}

type ParserRefusal = {
  /** Undefined: nothing was asked, or the client is gone. */
  readonly refusal: Refusal | undefined
  /** Undefined: nothing is answered. */
  readonly status: number | undefined
  /** The parser's sentence, where the reason says little. */
  readonly parser?: string | undefined
}

const NOTHING: ParserRefusal = { refusal: undefined, status: undefined }

const REFUSALS: Readonly<Record<string, ParserRefusal>> = {
  HPE_HEADER_OVERFLOW: { refusal: 'headers-too-large', status: 431 },
  HPE_CHUNK_EXTENSIONS_OVERFLOW: { refusal: 'body-too-large', status: 413 },
  HPE_PAUSED_H2_UPGRADE: { refusal: 'http2', status: 400 },
  HPE_INVALID_EOF_STATE: { refusal: 'cut-short', status: 400 },
  // RFC 9112 section 9.6: it is ignored. An answer to it would stand behind the good one.
  HPE_CLOSED_CONNECTION: { refusal: 'after-close', status: undefined },
  ERR_HTTP_REQUEST_TIMEOUT: { refusal: 'too-slow', status: 408 },
}

/** First bytes of a TLS record with a handshake. */
const TLS = [0x16, 0x03] as const

/** What to count, to log and to answer. */
export function parserRefusal(error: ParserError): ParserRefusal {
  const { code = '', reason, rawPacket, bytesParsed = 0 } = error
  // One newline too many, as when `echo` feeds netcat.
  if (code === 'HPE_CLOSED_CONNECTION' && rawPacket?.subarray(bytesParsed).every(isLineEnd)) return NOTHING
  if (TLS.every((byte, index) => rawPacket?.[index] === byte)) return { refusal: 'tls', status: 400 }
  const other = code.startsWith('HPE_')
    ? ({ refusal: 'malformed', status: 400, parser: reason?.slice(0, 100) } as const)
    : NOTHING
  return REFUSALS[code] ?? other
}

const isLineEnd = (byte: number) => byte === 0x0a || byte === 0x0d
