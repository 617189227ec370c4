/** The record of one request to STS. */
import type { IncomingMessage } from 'node:http'
import type { StsCall } from './model.ts'

type Outcome = {
  readonly status: number
  readonly outcome: string
  readonly caller?: string
  readonly issued?: string
}

/** A call without its secrets: nothing of the Authorization header and the token, and only the key id of what was issued. */
export function callRecord(
  params: URLSearchParams,
  request: IncomingMessage,
  when: Pick<StsCall, 'time' | 'took' | 'peer'>,
  answer: Outcome | undefined,
): StsCall {
  const duration = params.get('DurationSeconds')
  return {
    ...when,
    action: params.get('Action') ?? '',
    caller: answer?.caller ?? null,
    role: params.get('RoleArn'),
    session: params.get('RoleSessionName'),
    externalId: params.get('ExternalId'),
    tags: Object.fromEntries(
      indexed(params, /^Tags\.member\.(\d+)\.Key$/).map(([n, key]) => [
        key,
        params.get(`Tags.member.${n}.Value`) ?? '',
      ]),
    ),
    transitiveTagKeys: indexed(params, /^TransitiveTagKeys\.member\.(\d+)$/).map(([, key]) => key),
    sourceIdentity: params.get('SourceIdentity'),
    policyArns: indexed(params, /^PolicyArns\.member\.(\d+)\.arn$/).map(([, arn]) => arn),
    duration: duration === null ? null : Number(duration),
    outcome: answer?.outcome ?? 'aborted',
    signed: request.headers.authorization !== undefined || params.has('X-Amz-Signature'),
    status: answer?.status ?? 0,
    issued: answer?.issued ?? null,
    userAgent: request.headers['user-agent'] ?? '',
  }
}

function indexed(params: URLSearchParams, pattern: RegExp): [n: string, value: string][] {
  return [...params].flatMap(([name, value]): [string, string][] => {
    const n = pattern.exec(name)?.[1]
    return n === undefined ? [] : [[n, value]]
  })
}
