/** What a request selects of the pods: the selectors that the injector uses, and whether it asks for metadata only. */
import { KEYS } from '../../../../common/keys.ts'
import { namespaceOf, type Pod, placeOf } from './life.ts'
import type { Stage } from './pods.ts'

export type Look = {
  readonly namespace: string | undefined
  readonly name: string | undefined
  readonly injected: boolean | undefined
  /** The phases that are selected. */
  readonly phases: ReadonlySet<string>
  readonly metadataOnly: boolean
}

export function selectionOf(namespace: string | undefined, query: URLSearchParams, accept: string): Look {
  const labels = query.get('labelSelector')
  const injected = { [`${KEYS.injected}=true`]: true, [`${KEYS.injected}!=true`]: false }[labels ?? '']
  if (labels !== null && injected === undefined) throw new Error(`not understood here: ${labels}`)
  const phases = new Set(['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'])
  let name: string | undefined
  for (const part of (query.get('fieldSelector') ?? '').split(',').filter(Boolean)) {
    const [, field, operator, value = ''] = /^([^!=]+)(!?=)(.*)$/.exec(part) ?? []
    if (field === 'metadata.name') name = value
    else if (field !== 'status.phase') throw new Error(`not understood here: ${part}`)
    else for (const phase of [...phases]) if ((phase === value) !== (operator === '=')) phases.delete(phase)
  }
  return { namespace, name, injected, phases, metadataOnly: accept.includes('as=PartialObjectMetadata') }
}

/** Whether a pod is selected at a stage of its life. */
export function fits(pod: Pod, stage: Stage, look: Look): boolean {
  return (
    (look.injected === undefined || look.injected === pod.injected) &&
    look.phases.has(stage === 'running' || stage === 'leaving' ? 'Running' : 'Pending') &&
    (look.namespace === undefined || look.namespace === namespaceOf(pod.index)) &&
    (look.name === undefined || look.name === placeOf(pod).name)
  )
}
