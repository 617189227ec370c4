/** Requests that pods of the test send to the broker, with their own tokens and with those of others. */
import { BROKER_ADDRESSES, BROKER_PORT, hostPort, TOKEN_AUDIENCE } from '../../common/addresses.ts'
import { ask, type LivePod, refOf } from './cluster-pods.ts'
import type { Context } from './context.ts'
import type { Got } from './programs/reports.ts'
import { expect } from './promise.ts'

export const BROKER = `http://${hostPort(BROKER_ADDRESSES[0], BROKER_PORT)}/v1/credentials`

/** A GET from within a pod. */
export async function got(context: Context, pod: LivePod, url: string, token?: string): Promise<Got> {
  if (token === undefined) return JSON.parse(await ask(context, refOf(pod), ['get', url]))
  return JSON.parse(await ask(context, refOf(pod), ['get', url, 'token'], `${token}\n`))
}

/** A token like that of the pod's sidecar, requested from the API. It is given to nobody but pods of the test. */
export async function tokenOf({ access }: Context, { metadata }: LivePod): Promise<string> {
  const { namespace = '', name = '', uid = '' } = metadata
  const how = { audiences: [TOKEN_AUDIENCE], pod: { name, uid } }
  return (await access.kube.createToken(namespace, 'default', how)).token
}

/** Never contains the body itself, which may be credentials. */
export function codeOf({ status, body }: Got): string {
  return status === 200 ? 'with credentials' : (/"code":"([a-z-]+)"/.exec(body)?.[1] ?? '')
}

/** Checks the status and code of an answer; returns both. */
export function expectCode(answer: Got, status: number, code: string): string {
  const said = `${answer.status} ${codeOf(answer)}${answer.error ?? ''}`
  expect(
    answer.status === status && codeOf(answer) === code,
    `the broker answered ${said}, not ${status} ${code}`,
  )
  return said
}
