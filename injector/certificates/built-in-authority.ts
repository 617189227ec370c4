/** The built-in certificate authority of one replica: polls to keep Secret, bundle and leaf consistent. */
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

export type BuiltInAuthority = ReturnType<typeof builtInAuthority>

/** After this many writes lost to other replicas a round gives up; the next one follows in seconds. */
const ATTEMPTS = 5

type AuthorityDeps = {
  readonly secret: AuthoritySecret
  readonly publisher: BundlePublisher
  /** DNS names of the leaf: those of the Service. */
  readonly names: readonly string[]
  /** Called with every new leaf, once its authority is in the live bundles. */
  readonly onLeaf: (leaf: Leaf) => void
  readonly log: Logger
  readonly now: () => number
  /** Between rounds; a wrong bundle is corrected within this time. */
  readonly intervalMs: number
  readonly lifetimes?: Lifetimes
}

export function builtInAuthority(deps: AuthorityDeps) {
  const { publisher, names, onLeaf, log, now, intervalMs, lifetimes = LIFETIMES } = deps
  let leaf: Leaf | undefined
  let published: string | undefined
  let problem: string | undefined = 'there is no certificate yet'
  let synced = false
  let stopped = false
  let timer: NodeJS.Timeout | undefined

  async function reconcile(): Promise<void> {
    try {
      const state = await advanced(deps, published)
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
      // With a valid leaf the bundle is most likely still correct: continue to serve.
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
    /** Does one round, as the poll does. */
    reconcile,
    /** Why API servers may not trust the leaf; undefined while its authority is in the live configurations. */
    problem: () => problem,
    /** Whether the bundle was correct in the last round. */
    inSync: () => synced,
    stop() {
      stopped = true
      clearTimeout(timer)
    },
  }
}

/**
 * Advances the Secret by one step, unless another replica has done so.
 *
 * @param published the bundle that was last seen in the live configurations
 * @returns the state in the Secret
 */
async function advanced(
  { secret, log, now, lifetimes = LIFETIMES }: AuthorityDeps,
  published: string | undefined,
): Promise<AuthorityState> {
  const issue = () => issueAuthority(now(), lifetimes.authority)
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
