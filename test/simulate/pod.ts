/** One pod: its object, its projected token, and the sidecar's store and refresher. */

import type { SteadyClock } from '../../common/clock.ts'
import { identityEnv } from '../../common/identity.ts'
import { KEYS, SIDECAR_CONTAINER } from '../../common/keys.ts'
import type { Logger } from '../../common/log.ts'
import { Problem } from '../../common/protocol.ts'
import type { BrokerHandlers } from '../../node-guard/broker/server/app.ts'
import type { Reply } from '../../sidecar/broker/client.ts'
import { outcomeOf } from '../../sidecar/broker/outcome.ts'
import { startRefresher } from '../../sidecar/credentials/refresher.ts'
import { CredentialStore } from '../../sidecar/credentials/store.ts'
import type { PodToken } from './pod-token.ts'
import { endOfKey } from './sts.ts'
import type { Time } from './time.ts'

export type PodPlace = {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly nodeName: string
  readonly ip: string
}

const ROLE = 'app'
const HOST_IP = '10.0.0.1'
/** How long the sidecar waits for the broker's answer (`sidecar/broker/client.ts`). */
const ANSWER_MS = 10_000
/** The same as in `authenticate/verify.ts`. */
export const TOLERANCE_MS = 5000

/** The pod as the API server shows it; `running` is false while the kubelet creates its sandbox. */
export function podObject({ namespace, uid, nodeName, ip }: PodPlace, createdAt: number, running: boolean) {
  const annotations = { [KEYS.role]: ROLE }
  const identity = {
    source: 'annotation',
    role: ROLE,
    externalId: undefined,
    sessionName: undefined,
    sessionPolicies: undefined,
  } as const
  return {
    metadata: { uid, namespace, annotations, creationTimestamp: new Date(createdAt).toISOString() },
    spec: {
      nodeName,
      serviceAccountName: 'default',
      initContainers: [{ name: SIDECAR_CONTAINER, restartPolicy: 'Always', env: identityEnv(identity) }],
    },
    status: {
      phase: running ? 'Running' : 'Pending',
      hostIPs: [{ ip: HOST_IP }],
      podIPs: running ? [{ ip }] : [],
    },
  }
}

type HandedOut = {
  /** When AWS no longer accepts them. */
  readonly expires: number
  /** When they expire for an SDK, which uses the node's clock as it is now. */
  readonly reportedExpiry: number
}

export type Sidecar = {
  readonly startedAt: number
  /** When it first had credentials; undefined before. */
  readonly firstAt: () => number | undefined
  /** What an application gets now; undefined if it gets nothing. */
  readonly handsOut: () => HandedOut | undefined
  /** When it last received credentials, and when these expire. */
  readonly last: () => { readonly at: number; readonly expires: number } | undefined
  /** By the node's clock its token was issued in the future, so it cannot authenticate until the clock is right. */
  readonly isTooEarly: () => boolean
  readonly stop: () => void
}

/** @param handlers the node's broker; undefined while there is none */
export function startSidecar(
  place: PodPlace,
  by: {
    readonly time: Time
    readonly clock: SteadyClock
    readonly token: PodToken
    readonly handlers: () => BrokerHandlers | undefined
    readonly log: Logger
  },
): Sidecar {
  const { time, clock, token, handlers, log } = by
  const store = new CredentialStore(clock)
  const startedAt = time.now()
  let firstAt: number | undefined
  let last: { at: number; expires: number } | undefined

  const exchange = async (): Promise<Reply> => {
    const broker = handlers()
    if (!broker) return { kind: 'failure', code: 'broker-unreachable', detail: 'connection refused' }
    const { issued, expires } = token.read()
    const authorization = `${place.uid} ${issued} ${expires}`
    const { promise: late, resolve } = Promise.withResolvers<Reply>()
    const cancel = time.after(ANSWER_MS, () =>
      resolve({ kind: 'failure', code: 'broker-unreachable', detail: 'no complete answer' }),
    )
    const answer = broker.credentials({ authorization, peer: place.ip }).then(answered, refused)
    const reply = await Promise.race([answer, late])
    cancel()
    return reply
  }
  const loop = startRefresher({
    ask: async () => outcomeOf(await exchange(), clock.now()),
    onOutcome: (outcome) => {
      if (outcome.kind !== 'credentials') return
      firstAt ??= time.now()
      last = { at: time.now(), expires: endOfKey(outcome.credentials.accessKeyId) }
    },
    store,
    clock,
    log,
  })
  return {
    startedAt,
    firstAt: () => firstAt,
    handsOut: () => {
      const view = store.view()
      if (view.kind !== 'valid') return undefined
      const { accessKeyId, expiration } = view.credentials
      return { expires: endOfKey(accessKeyId), reportedExpiry: time.now() + expiration - clock.now() }
    },
    last: () => last,
    isTooEarly: () => clock.now() < time.now() && token.read().issued > clock.now() + TOLERANCE_MS,
    stop: loop.stop,
  }
}

const answered = (body: object): Reply => ({
  kind: 'answer',
  status: 200,
  retryAfter: undefined,
  cacheControl: undefined,
  body: JSON.stringify(body),
})

function refused(error: unknown): Reply {
  if (!(error instanceof Problem)) throw error
  return {
    kind: 'answer',
    status: error.status,
    retryAfter: error.retryAfter === undefined ? undefined : String(error.retryAfter),
    cacheControl: undefined,
    body: JSON.stringify(error.toBody()),
  }
}
