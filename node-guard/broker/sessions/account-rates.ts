/**
 * The rates of calls to STS: one for the node's role, and one for each account whose roles are assumed by web identity. Such a call is not
 * signed, so it can only count towards the quota of the role's account. That may belong to a tenant, and its throttling says nothing
 * about others.
 */
import type { Clock } from '../../../common/clock.ts'
import { tokenBucket } from '../../../common/token-bucket.ts'
import { type AdaptiveRate, adaptiveRate } from './adaptive-rate.ts'

/** A request's rate, and how many requests of that rate wait or are under way. */
export type Lane = { readonly rate: AdaptiveRate; waiting: number; running: number }

/** A node has a few. Further ones share a rate. */
const MAX_ACCOUNTS = 64

const isReady = ({ rate }: Lane) => rate.wait() === 0

/** @param max calls per second of all together, and of each rate while STS does not refuse */
export function accountRates(max: number, clock: Clock) {
  const all = tokenBucket(max, max, clock)
  const lane = (): Lane => ({ rate: adaptiveRate(max, clock), waiting: 0, running: 0 })
  const [node, others] = [lane(), lane()]
  const byAccount = new Map<string, Lane>()
  const hasRoom = () => {
    if (byAccount.size < MAX_ACCOUNTS) return true
    const idle = [...byAccount].find(([, { waiting, running }]) => waiting + running === 0)
    return idle !== undefined && byAccount.delete(idle[0])
  }
  const waiting = () => [node, others, ...byAccount.values()].filter((one) => one.waiting > 0)
  return {
    /** @param account of the role, for a request by web identity; undefined: the request is made with the node's role */
    laneOf: (account: string | undefined): Lane => {
      if (account === undefined) return node
      const known = byAccount.get(account)
      if (known) return known
      if (!hasRoom()) return others
      const made = lane()
      byAccount.set(account, made)
      return made
    },
    take: () => all.wait() === 0 && waiting().some(isReady) && all.take(),
    wait: () => Math.max(all.wait(), Math.min(...waiting().map(({ rate }) => rate.wait()))),
  }
}
