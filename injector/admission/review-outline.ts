/** Which parts of an admission review are read, within bounds that follow from the cost of parsing and judging. */
import { KEYS } from '../../common/keys.ts'
import { MIRROR_KEY } from '../pod/unsupported.ts'
import type { Outline, SkimLimits } from './skim.ts'

/**
 * Bytes: the API server accepts 3 MiB from a client and adds defaults, and etcd stores 1.5 MiB. Parts: 32,768 variables
 * have 98,304 of them, and V8 takes 25 ms for the most expensive 120,000. Keys: a pod has about a hundred different fields, and
 * labels, annotations and node selectors add at most 4,000; each costs V8 a microsecond. Depth: no part of a pod is 20 deep.
 */
const OBJECT: SkimLimits = { bytes: 4 * 1024 * 1024, parts: 120_000, keys: 8_000, depth: 100 }
/** About twenty short texts; two objects with 256 KiB of annotations each still fit. */
const HEAD: SkimLimits = { bytes: 4 * 1024 * 1024, parts: 2_000, keys: 0, depth: 100 }

export const REVIEW_LIMITS = { head: HEAD, object: OBJECT } as const

type Members = Readonly<Record<string, 'head' | 'object' | 'both' | Outline>>

const outline = (members: Members): Outline => ({ members: new Map(Object.entries(members)) })

/**
 * The head has the request's fields and those annotations that decide whether a review concerns us. The object has the parts of
 * a pod or a template that are judged. All other parts of a review are skipped.
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
