/** The life of a large cluster: pods are replaced one after the other, and running pods change. */
import type { Place, Stage } from './pods.ts'

export type Pod = {
  readonly index: number
  readonly generation: number
  readonly stage: Stage
  readonly injected: boolean
}

/** The change of a pod: `before` is undefined for a new pod, `after` for a deleted one. */
export type Change = {
  readonly version: number
  readonly before: Stage | undefined
  readonly after: Stage | undefined
  readonly pod: Pod
}

/** One replacement, step by step: the old pod is deleted, the next one is created. Ten changes. */
const STEPS: readonly { readonly who: 'old' | 'new'; readonly before?: Stage; readonly after?: Stage }[] = [
  { who: 'new', after: 'made' },
  { who: 'new', before: 'made', after: 'bound' },
  { who: 'new', before: 'bound', after: 'bound' },
  { who: 'new', before: 'bound', after: 'gate' },
  { who: 'new', before: 'gate', after: 'gate' },
  { who: 'new', before: 'gate', after: 'running' },
  { who: 'new', before: 'running', after: 'running' },
  { who: 'old', before: 'running', after: 'leaving' },
  { who: 'old', before: 'leaving', after: 'leaving' },
  { who: 'old', before: 'leaving' },
]
/** The share of all changes that belong to replacements; the others are changes of running pods. */
const REPLACING = 0.4

export type Life = {
  readonly size: number
  readonly version: () => number
  /** The pod at an index in its current state, which lists return. */
  readonly at: (index: number) => Pod
  readonly changes: (count: number) => Change[]
}

/**
 * @param injected number of pods with a sidecar
 * @param others number of pods without one
 * @param stage the stage of all pods in the first list
 */
export function life(injected: number, others: number, stage: 'gate' | 'running'): Life {
  const size = injected + others
  const generations = new Uint16Array(size)
  let version = 1000
  let next = 0
  let current = { index: 0, step: 0 }
  const of = (index: number, generation: number, stage: Stage): Pod => ({
    index,
    generation,
    stage,
    injected: index < injected,
  })
  const replace = (): Change => {
    const { index, step } = current
    const { who, before, after } = STEPS[step] ?? {}
    const generation = (generations[index] ?? 0) + (who === 'new' ? 1 : 0)
    if (step === STEPS.length - 1) generations[index] = generation + 1
    current =
      step === STEPS.length - 1 ? { index: (index + 1) % injected, step: 0 } : { index, step: step + 1 }
    return { version: ++version, before, after, pod: of(index, generation, after ?? before ?? 'running') }
  }
  const news = (): Change => {
    next = (next + 7919) % size
    // Not the pod that is being replaced: this change would have a stage older than its last one.
    const index = next === current.index ? (next + 1) % size : next
    const pod = of(index, generations[index] ?? 0, stage)
    return { version: ++version, before: stage, after: stage, pod }
  }
  return {
    size,
    version: () => version,
    at: (index) => of(index, generations[index] ?? 0, stage),
    changes: (count) =>
      Array.from({ length: count }, (_, nth) => (nth < count * REPLACING ? replace() : news())),
  }
}

/** A pod's name, namespace and uid; a namespace has 500 pods. */
export function placeOf({ index, generation }: Pod): Place {
  const suffix = (index * 7919 + generation).toString(36).padStart(6, '0')
  return {
    name: `orders-6d5f7c9b8-${suffix}`,
    namespace: namespaceOf(index),
    uid: `${index.toString(16).padStart(8, '0')}-${generation.toString(16).padStart(4, '0')}-4000-8000-0f3a5c7e9b1d`,
  }
}

export const namespaceOf = (index: number): string => `team-${Math.floor(index / 500)}`
