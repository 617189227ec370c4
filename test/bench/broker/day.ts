/** A day of a node in simulated time: the broker's session store and queue, called on the sidecars' schedule. */
import { setImmediate } from 'node:timers/promises'
import type { SessionRequest } from '../../../node-guard/broker/authorize/entitlement.ts'
import { stsProblem } from '../../../node-guard/broker/aws/explain.ts'
import type { Grant } from '../../../node-guard/broker/sessions/entries.ts'
import { sessionStore } from '../../../node-guard/broker/sessions/sessions.ts'
import { stsQueue } from '../../../node-guard/broker/sessions/sts-queue.ts'
import { refreshDelay } from '../../../sidecar/credentials/schedule.ts'
import { fakeClock } from '../../support/fake-clock.ts'
import type { Figure } from '../report.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const STS_MS = 80

/** The seconds of simulated time in which a call was made. */
type Seconds = Map<number, number>

export async function dayFigures(pods: number): Promise<Figure[]> {
  const clock = fakeClock()
  const seconds: Seconds = new Map()
  let calls = 0
  const assume = async () => {
    calls++
    const second = Math.floor(clock.now() / 1000)
    seconds.set(second, (seconds.get(second) ?? 0) + 1)
    const answer = Promise.withResolvers<void>()
    clock.after(STS_MS, answer.resolve)
    await answer.promise
    return { accessKeyId: 'a', secretAccessKey: 's', sessionToken: 't', expiration: clock.now() + HOUR }
  }
  const stopping = new AbortController()
  const store = sessionStore({
    scope: 'pod',
    assume,
    queue: stsQueue({ perSecond: 20, concurrency: 10 }, clock),
    clock,
    signal: stopping.signal,
    isStillValid: () => true,
    explain: (failure, thrown, context) => stsProblem(failure, thrown, { ...context, callerArn: undefined }),
    on: { issued: () => {}, failed: () => {}, cache: () => {} },
  })
  const grants = Array.from({ length: pods }, (_, index): Grant => {
    const request: SessionRequest = {
      roleArn: 'arn:aws:iam::111111111111:role/app',
      externalId: undefined,
      sessionName: `shop.p${index}`,
      tags: [],
      sourceIdentity: undefined,
      policyArns: [],
      durationSeconds: 3600,
    }
    return { pod: { uid: `p${index}`, namespace: `n${index % 5}`, name: `p${index}` }, request }
  })

  let missed = 0
  let least = HOUR
  const ask = async (grant: Grant) => {
    try {
      const { issuedAt, expiration } = await store.get(grant)
      least = Math.min(least, expiration - clock.now())
      const credentials = { lastUpdated: issuedAt, expiration } as Parameters<typeof refreshDelay>[0]
      clock.after(refreshDelay(credentials, clock.now(), Math.random()), () => void ask(grant))
    } catch {
      missed++
      clock.after(1000, () => void ask(grant))
    }
  }
  for (const grant of grants) void ask(grant)
  await setImmediate()
  await clock.advance(MINUTE)
  const boot = Math.max(...seconds.values())
  const atBoot = calls
  seconds.clear()
  await clock.advance(24 * HOUR - MINUTE)
  stopping.abort()
  return [
    {
      name: `STS calls of ${pods} pods in a day`,
      value: calls,
      unit: '',
      note: `${(calls / pods / 24).toFixed(2)} per pod and hour; ${atBoot} at the start`,
    },
    {
      name: 'STS calls in a second, most, at the start',
      value: boot,
      unit: '',
      target: 40,
      note: '--sts-qps 20, burst 20',
    },
    {
      name: 'STS calls in a second, most, later',
      value: Math.max(...seconds.values()),
      unit: '',
      target: 20,
    },
    { name: 'requests that got nothing in a day', value: missed, unit: '', target: 0 },
    { name: 'shortest life handed out', value: least / MINUTE, unit: 'min' },
  ]
}
