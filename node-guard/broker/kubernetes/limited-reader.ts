/**
 * Live reads for the case that the watch lags: a pod asks before its event has arrived. Rate-limited for the node and
 * for each namespace, so that no pod can make the broker put load on the API server; beyond the node's limit namespaces take turns, so
 * that no tenant starves the others.
 */

import type { Clock } from '../../../common/clock.ts'
import { messageOf } from '../../../common/errors.ts'
import { fairQueue } from '../../../common/fair-queue.ts'
import { type Kube, KubeError } from '../../../common/kube/client.ts'
import { pacedStarts } from '../../../common/paced-starts.ts'
import { Problem } from '../../../common/protocol.ts'
import { tokenBucket, tokenBuckets } from '../../../common/token-bucket.ts'

export type LimitedReader = ReturnType<typeof limitedReader>

const PER_SECOND = 10
const BURST = 50
const NAMESPACE_PER_SECOND = 2
const NAMESPACE_BURST = 20
const MAX_NAMESPACES = 1024
/** A sidecar waits ten seconds for its answer. */
const MAX_WAIT_MS = 3000
/** How long an answer is reused: a pod that asks again at once gets the same. */
const MEMORY_MS = 1000

/** @param kube only its `get` is used */
export function limitedReader(kube: Pick<Kube, 'get'>, clock: Clock) {
  const recent = new Map<string, Promise<unknown>>()
  const takeShare = tokenBuckets(NAMESPACE_PER_SECOND, NAMESPACE_BURST, clock, MAX_NAMESPACES)
  const queue = fairQueue()
  const pump = pacedStarts(queue, tokenBucket(PER_SECOND, BURST, clock), clock)

  /** Resolves when it is this namespace's turn. @throws {Problem} `busy` when that takes too long */
  const turn = async (namespace: string): Promise<void> => {
    const waiting = { namespace }
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    queue.add(waiting, resolve)
    pump()
    const cancel = clock.after(MAX_WAIT_MS, () => {
      if (queue.leave(waiting)) reject(tooMany())
    })
    await promise.finally(cancel)
  }

  const fetch = async (path: string) => {
    try {
      return await kube.get(path)
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) return undefined
      throw new Problem('busy', `the API server could not be asked: ${messageOf(error)}; retry`, {
        retryAfter: 2,
        cause: error,
      })
    }
  }
  return {
    /**
     * The object at `path` as it is now, or undefined where there is none.
     *
     * @param asker an answer is only reused for the same asker, since it may be older than another one's request
     * @param namespace whose share of the reads it takes
     * @throws {Problem} `busy` when the limit is reached or the API server gives no answer
     */
    read: (path: string, asker: string, namespace: string) => {
      const key = `${path} ${asker}`
      const known = recent.get(key)
      if (known !== undefined) return known
      if (!takeShare(namespace)) return Promise.reject(tooMany())
      const answer = turn(namespace).then(() => fetch(path))
      recent.set(key, answer)
      const forget = () => clock.after(MEMORY_MS, () => recent.delete(key))
      answer.then(forget, forget)
      return answer
    },
  }
}

const tooMany = () =>
  new Problem('busy', 'too many pods are asking before the watch has seen them; retry', { retryAfter: 1 })
