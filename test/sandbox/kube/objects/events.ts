/** `events.k8s.io/v1` and core `v1` events are two views of the same stored objects (kept in the core form). */

import { type KubeObject, objectAt, stringAt } from './objects.ts'
import { type FieldError, fieldError } from './status.ts'

/** Field names, core → events.k8s.io. Fields that are absent here have the same name in both. */
const NAMES: readonly (readonly [string, string])[] = [
  ['involvedObject', 'regarding'],
  ['message', 'note'],
  ['source', 'deprecatedSource'],
  ['firstTimestamp', 'deprecatedFirstTimestamp'],
  ['lastTimestamp', 'deprecatedLastTimestamp'],
  ['count', 'deprecatedCount'],
  ['reportingComponent', 'reportingController'],
]

function renamed(object: KubeObject, apiVersion: string, names: ReadonlyMap<string, string>): KubeObject {
  const entries = Object.entries(object).map(([key, value]) => [names.get(key) ?? key, value])
  return { ...(Object.fromEntries(entries) as KubeObject), apiVersion }
}

const TO_CORE = new Map(NAMES.map(([core, v1]) => [v1, core]))
const FROM_CORE = new Map(NAMES)

export function eventToCore(event: KubeObject): KubeObject {
  return renamed(event, 'v1', TO_CORE)
}

export function eventFromCore(event: KubeObject): KubeObject {
  return renamed(event, 'events.k8s.io/v1', FROM_CORE)
}

const REQUIRED = ['eventTime', 'reportingController', 'reportingInstance', 'action', 'reason'] as const
const LIMITS = { reportingInstance: 128, action: 128, reason: 128 } as const
const NOTE_BYTES = 1024
/** `metav1.MicroTime`: exactly six digits of fraction are read and written. */
const MICRO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$/

/** What events.k8s.io requires of a new event (pkg/apis/core/validation/events.go); core v1 is lenient. */
export function newEventErrors(event: KubeObject): FieldError[] {
  const errors: FieldError[] = []
  const own = event.metadata.namespace ?? ''
  const regarding = stringAt(event, 'regarding', 'namespace') ?? ''
  if (regarding !== '' ? regarding !== own : own !== 'default')
    errors.push(fieldError.invalid('involvedObject.namespace', regarding, 'does not match event.namespace'))
  for (const field of REQUIRED)
    if ((stringAt(event, field) ?? '') === '') errors.push(fieldError.required(field))
  for (const [field, limit] of Object.entries(LIMITS))
    if (Buffer.byteLength(stringAt(event, field) ?? '') > limit)
      errors.push(fieldError.invalid(field, '', `can have at most ${limit} characters`))
  if (Buffer.byteLength(stringAt(event, 'note') ?? '') > NOTE_BYTES)
    errors.push(fieldError.invalid('message', '', `can have at most ${NOTE_BYTES} characters`))
  if (!['Normal', 'Warning'].includes(stringAt(event, 'type') ?? ''))
    errors.push(fieldError.invalid('type', event.type ?? '', 'has invalid value: Normal, Warning'))
  const time = stringAt(event, 'eventTime')
  if (time !== undefined && !MICRO_TIME.test(time))
    errors.push(fieldError.invalid('eventTime', time, 'is no RFC 3339 time with microseconds'))
  return [...errors, ...seriesErrors(event)]
}

function seriesErrors(event: KubeObject): FieldError[] {
  if (event.series === undefined || event.series === null) return []
  const { count, lastObservedTime } = objectAt(event, 'series')
  const errors: FieldError[] = []
  if (typeof count !== 'number' || count < 2)
    errors.push(fieldError.invalid('series.count', count ?? 0, 'should be at least 2'))
  if (typeof lastObservedTime !== 'string' || !MICRO_TIME.test(lastObservedTime))
    errors.push(fieldError.required('series.lastObservedTime'))
  return errors
}

const FROZEN = [
  'regarding',
  'reason',
  'note',
  'type',
  'action',
  'related',
  'reportingController',
  'reportingInstance',
]

/** Through events.k8s.io only `series` (and metadata) of an event may change. */
export function eventUpdateErrors(next: KubeObject, current: KubeObject): FieldError[] {
  const changed = FROZEN.filter((field) => JSON.stringify(next[field]) !== JSON.stringify(current[field]))
  return [
    // Reported by the names of the core form, which is the one that is validated.
    ...changed.map((field) =>
      fieldError.invalid(TO_CORE.get(field) ?? field, next[field], 'field is immutable'),
    ),
    ...seriesErrors(next),
  ]
}
