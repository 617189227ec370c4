/** The built-in certificate authority of one replica: Secret, bundle and leaf, kept in step by a poll. */
import type { Logger } from '../../common/log.ts'
import { kubeProblem } from '../kubernetes/access.ts'
import type { AuthoritySecret } from './authority-secret.ts'
import type { BundlePublisher } from './ca-bundle.ts'
import { issueAuthority, issueLeaf } from './issue.ts'
import {
  type AuthorityState,
  advance,
  bundleOf,
  type Leaf,
  LIFETIMES,
  type Lifetimes,
  leafIsDue,
} from './rotation.ts'

export type BuiltInAuthority = {
  /** One round: also what the poll does. */
  readonly reconcile: () => Promise<void>
  /** Undefined while the leaf is signed by an authority that the live configurations know, else why not. */
  readonly problem: () => string | undefined
  /** Whether the last round found the bundle as it should be. */
  readonly inSync: () => boolean
  readonly stop: () => void
}

/** Writes lost to another replica before a round gives up; the next one is seconds away. */
const ATTEMPTS = 5

/**
 * @param names DNS names of the leaf: those of the Service
 * @param onLeaf called with every new leaf, when its authority stands in the live bundles
 * @param intervalMs between rounds; a broken bundle is mended within it
 */
export function builtInAuthority(deps: {
  readonly secret: AuthoritySecret
  readonly publisher: BundlePublisher
  readonly names: readonly string[]
  readonly onLeaf: (leaf: Leaf) => void
  readonly log: Logger
  readonly now: () => number
  readonly intervalMs: number
  readonly lifetimes?: Lifetimes
}): BuiltInAuthority {
  const { secret, publisher, names, onLeaf, log, now, intervalMs, lifetimes = LIFETIMES } = deps
  const issue = () => issueAuthority(now(), lifetimes.authority)
  let leaf: Leaf | undefined
  let published: string | undefined
  let problem: string | undefined = 'there is no certificate yet'
  let synced = false
  let stopped = false
  let timer: NodeJS.Timeout | undefined

  /** Brings the Secret one step on; whatever another replica wrote first is as good. */
  async function currentState(): Promise<AuthorityState> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const stored = await secret.read()
      const isPublished = stored.state !== undefined && published === bundleOf(stored.state, now())
      const wanted = await advance(stored.state, isPublished, now(), issue, lifetimes)
      if (wanted === stored.state) return wanted
      if (await secret.write(stored, wanted)) {
        log.info('certificate authority advanced', {
          next: wanted.next !== undefined,
          previous: wanted.previous !== undefined,
        })
        return wanted
      }
    }
    throw new Error('other replicas keep changing the Secret of the certificate authority')
  }

  async function reconcile(): Promise<void> {
    try {
      const state = await currentState()
      const bundle = bundleOf(state, now())
      synced = await publisher.publish(bundle)
      if (!synced) log.info('caBundle written', { webhooks: 'all entries' })
      published = bundle
      if (leafIsDue(leaf, state, now(), lifetimes)) {
        const issued = await issueLeaf(state.current, names, now(), lifetimes.leaf)
        leaf = { ...issued, authority: state.current.cert }
        onLeaf(leaf)
        log.info('certificate issued', { notAfter: new Date(leaf.notAfter).toISOString() })
      }
      problem = undefined
    } catch (error) {
      synced = false
      // With a valid leaf the old bundle most likely still stands: serve on.
      problem = leaf !== undefined && leaf.notAfter > now() ? undefined : kubeProblem(error)
      log.warn('certificate authority not reconciled', { error: kubeProblem(error) })
    }
  }

  const round = async () => {
    await reconcile()
    if (!stopped) timer = setTimeout(round, leaf === undefined ? Math.min(1000, intervalMs) : intervalMs)
  }
  void round()
  return {
    reconcile,
    problem: () => problem,
    inSync: () => synced,
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}
