/** Rows of a contract table: a sentence, a request, and the expected answer. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ask, type Exchange, type RawAnswer } from './raw.ts'

type Expected = {
  readonly status: number
  /** The whole text, or a pattern. */
  readonly body?: string | RegExp
  /** By lower-case name; undefined if the header must be absent. */
  readonly headers?: Readonly<Record<string, string | RegExp | undefined>>
}

export type Row = readonly [sentence: string, exchange: Exchange, expected: Expected]

/** Stands for a fresh session token in a row's headers. */
export const TOKEN = '<token>'

/** Registers one test for each row. */
export function testRows(port: () => number, rows: readonly Row[]): void {
  for (const [sentence, exchange, expected] of rows)
    test(sentence, async () => {
      const answer = await ask(port(), await withToken(port(), exchange))
      check(answer, expected)
      checkAlways(answer, exchange)
    })
}

/** Requests a session token over TCP. */
export async function freshToken(port: number, ttl = 21_600): Promise<string> {
  const headers = { 'X-aws-ec2-metadata-token-ttl-seconds': String(ttl) }
  return (await ask(port, { method: 'PUT', path: '/latest/api/token', headers })).body
}

async function withToken(port: number, exchange: Exchange): Promise<Exchange> {
  const entries = Object.entries(exchange.headers ?? {})
  if (!entries.some(([, value]) => value.includes(TOKEN))) return exchange
  const token = await freshToken(port)
  return {
    ...exchange,
    headers: Object.fromEntries(entries.map(([name, value]) => [name, value.replace(TOKEN, token)])),
  }
}

function check(answer: RawAnswer, { status, body, headers = {} }: Expected): void {
  assert.equal(answer.status, status)
  if (body instanceof RegExp) assert.match(answer.body, body)
  else if (body !== undefined) assert.equal(answer.body, body)
  for (const [name, value] of Object.entries(headers)) {
    const found = answer.headers.get(name)
    if (value instanceof RegExp) assert.match(found ?? '(absent)', value, name)
    else assert.equal(found, value, name)
  }
}

/** Checks what every answer must have: EC2's server name, a date, and the correct length. */
function checkAlways(answer: RawAnswer, { method }: Exchange): void {
  assert.equal(answer.headers.get('server'), 'EC2ws')
  assert.ok(!Number.isNaN(Date.parse(answer.headers.get('date') ?? '')))
  assert.match(answer.headers.get('content-length') ?? '', /^\d+$/)
  if (method !== 'HEAD') assert.equal(Number(answer.headers.get('content-length')), answer.body.length)
  assert.equal(answer.headers.get('transfer-encoding'), undefined)
  assert.equal(answer.headers.get('location'), undefined)
  assert.notEqual(answer.status, 429)
}
