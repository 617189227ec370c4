/** What is read of an admission review, and how much of it: bounds by what parsing and judging cost. */
import { KEYS } from '../../common/keys.ts'
import { MIRROR_KEY } from '../pod/unsupported.ts'
import type { Outline, SkimLimits } from './skim.ts'

/**
 * Bytes: the API server takes 3 MiB from a client and fills in defaults, and etcd stores 1.5 MiB. Parts: 32,768
 * variables are 98,304, and V8 takes 25 ms for the costliest 120,000. Keys: the fields of a pod are some hundred, and labels,
 * annotations and node selectors add at most 4,000; each costs V8 a microsecond. Depth: nothing in a pod is 20 deep.
 */
const OBJECT: SkimLimits = { bytes: 4 * 1024 * 1024, parts: 120_000, keys: 8_000, depth: 100 }
/** Some twenty short texts; annotations of 256 KiB each, of two objects, still fit. */
const HEAD: SkimLimits = { bytes: 4 * 1024 * 1024, parts: 2_000, keys: 0, depth: 100 }

export const REVIEW_LIMITS = { head: HEAD, object: OBJECT } as const

type Members = Readonly<Record<string, 'head' | 'object' | 'both' | Outline>>

const outline = (members: Members): Outline => ({ members: new Map(Object.entries(members)) })

/**
 * Head: who asks for what, and those annotations that decide whether a review is any business of ours. Object: what is judged
 * of a pod or a template. Everything else of a review is walked over.
 *
 * @param roleKeys the configured key of the role annotation, and those of other replicas
 */
export function reviewOutline(roleKeys: readonly string[]): Outline {
  const keys = [...Object.values(KEYS), ...roleKeys, MIRROR_KEY]
  const ours = outline(Object.fromEntries(keys.map((key) => [key, 'head'] as const)))
  const annotations = { ...ours, whole: true } as const
  const template = outline({ metadata: outline({ annotations: ours }) })
  const spec = {
    ...outline({ template, jobTemplate: outline({ spec: outline({ template }) }) }),
    whole: true,
  } as const
  const name = { name: 'both', generateName: 'both' } as const
  const metadata = outline({ ...name, deletionTimestamp: 'head', labels: 'object', annotations })
  const request = outline({
    ...{
      uid: 'head',
      namespace: 'head',
      operation: 'head',
      resource: 'head',
      subResource: 'head',
      dryRun: 'head',
    },
    object: outline({ metadata, spec }),
    oldObject: outline({ metadata: outline({ deletionTimestamp: 'head', annotations: ours }) }),
  })
  return outline({ apiVersion: 'head', kind: 'head', request })
}
