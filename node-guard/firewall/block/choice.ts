import type { Logger } from '../../../common/log.ts'
import { type Failed, failed } from '../../../common/result.ts'
import type { Backend } from '../backend/backend.ts'
import type { Counts } from '../backend/counts.ts'
import type { Failure } from '../process/failure.ts'
import type { GuardRuleset } from '../rules/guard.ts'
import type { Backends } from './backends.ts'

/** The backend with which this process keeps its rules. */
export type Choice = ReturnType<typeof createChoice>

/** Begins to watch for changes of a backend's rules, whether it is chosen in the end or not; returns what ends it. */
export type Follow = (backend: Backend, isChosen: () => boolean) => Promise<() => void>

type ChoiceOptions = {
  readonly backends: Backends
  readonly follow: Follow
  readonly log: Logger
}

/** `next`: another backend is worth a try. */
type LoadFailure = Failed & { readonly next: boolean }

/**
 * Chooses by trying. The first backend that works is kept for the life of the process: a temporary failure is no reason
 * to abandon rules that are loaded.
 */
export function createChoice({ backends, follow, log }: ChoiceOptions) {
  let chosen: Backend | undefined
  let fallback: string | undefined
  let alone = false
  let left: string | undefined

  const loadFirst = async (rules: GuardRuleset, counts: Counts): Promise<string | undefined> => {
    const failures: string[] = []
    const details: string[] = []
    for (const backend of await backends.candidates()) {
      // Before loading, so that a change right after it is noticed.
      const unfollow = await follow(backend, () => chosen === backend)
      const failure = await loadAndLook(backend, rules, counts)
      if (failure === undefined) {
        chosen = backend
        fallback = failures.length > 0 ? failures.join('; ') : undefined
        log.info('backend chosen', { backend: backend.name, why: fallback ?? 'the first choice works' })
        const limits = backend.limits?.()
        if (limits !== undefined) log.warn('backend limited', { detail: limits })
        return undefined
      }
      unfollow()
      failures.push(`${backend.name}: ${failure.detail}`)
      details.push(failure.detail)
      if (!failure.next) break
    }
    return details.length === 1 ? details[0] : `no backend works on this node: ${failures.join('; ')}`
  }

  const removeOne = async (backend: Backend): Promise<Failure | undefined> => {
    const result = await backend.remove()
    if (result === 'removed') log.info('rules of another backend removed', { rules: backend.what })
    return typeof result === 'string' || (result.unusable && !result.mayRemain) ? undefined : result
  }

  return {
    /** The backend that works; undefined before one has loaded the rules. */
    chosen: () => chosen,
    /** Why it is not the first that `--backend` admits; undefined where it is. */
    fallback: () => fallback,
    /** Loads rules and reads them back, with what they count, by the first backend that can. Returns why none could, or undefined. */
    load: async (rules: GuardRuleset, counts: Counts) =>
      chosen === undefined ? loadFirst(rules, counts) : (await loadAndLook(chosen, rules, counts))?.detail,
    /** Removes, once, the rules that other backends left behind. To be called when rules are verified, never before. */
    removeOthers: async () => {
      if (alone) return
      const failures: Failure[] = []
      for (const backend of backends.all.filter((other) => other !== chosen)) {
        const failure = await removeOne(backend)
        if (failure !== undefined) failures.push(failure)
      }
      // A backend that is unusable stays so for the life of this process.
      alone = failures.every(({ unusable }) => unusable === true)
      const detail = failures.length > 0 ? failures.map((failure) => failure.detail).join('; ') : undefined
      if (detail !== undefined && detail !== left)
        log.warn('rules of another backend may be left', { detail })
      left = detail
    },
    /** Why there may be rules of another backend, too; undefined where none are known of. */
    othersLeft: () => left,
  }
}

async function loadAndLook(
  backend: Backend,
  rules: GuardRuleset,
  counts: Counts,
): Promise<LoadFailure | undefined> {
  for (let attempt = 1; ; attempt++) {
    const failure = await backend.load(rules)
    if (failure !== undefined) return { ...failure, next: true }
    counts.restart()
    const { failed: why, differs, packets } = await backend.compare()
    // Another load would set what was counted meanwhile to zero.
    if (packets !== undefined) counts.read(packets)
    if (why !== undefined) return { ...failed(why), next: true }
    if (differs === undefined) return undefined
    // Other programs change one table after another, so one difference is not yet a conflict.
    if (attempt < 3) continue
    const conflict = `what was loaded as ${backend.what} ${differs} at once: find what else changes the firewall of this node (nft monitor)`
    return { ...failed(conflict), next: false }
  }
}
