import type { LookedAt } from './leftovers.ts'
import type { Status } from './status.ts'

/** A status as a guard wrote it. */
export type WrittenStatus = {
  readonly version: 1
  /** ISO 8601. */
  readonly writtenAt: string
  /** Seconds after `writtenAt` within which a living guard writes again. */
  readonly validSeconds: number
  /** Where leftovers were looked for; absent in mode `remove`. */
  readonly lookedAt?: LookedAt
  readonly status: Status
}

type Check = (value: unknown) => boolean

const isText: Check = (value) => typeof value === 'string'
const isFlag: Check = (value) => typeof value === 'boolean'
export const isCount: Check = (value) => typeof value === 'number' && Number.isFinite(value) && value >= 0
export const isTime: Check = (value) => typeof value === 'string' && !Number.isNaN(Date.parse(value))
const isTimeOrNull: Check = (value) => value === null || isTime(value)
const isListOf =
  (each: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(each)
export const isObjectOf =
  <T>(fields: Readonly<Record<string, Check>>) =>
  (value: unknown): value is T =>
    typeof value === 'object' &&
    value !== null &&
    Object.entries(fields).every(([name, check]) => check((value as Record<string, unknown>)[name]))

/** What is known about pods on the host network. */
export const HOST_NETWORK = {
  mode: (value) => value === 'audit' || value === 'block',
  backend: (value) => value === undefined || isText(value),
  verified: isFlag,
  detail: (value) => value === undefined || isText(value),
  repairs: isCount,
  packets: isObjectOf({ allowed: isCount, others: isCount, unknown: isCount }),
  pods: isListOf(
    isObjectOf({ namespace: isText, name: isText, allowed: isFlag, packets: isCount, lastSeen: isTime }),
  ),
} satisfies Readonly<Record<string, Check>>
const isHostNetwork = isObjectOf(HOST_NETWORK)

const STATUS = {
  backend: isText,
  mode: isText,
  verified: isFlag,
  verifiedAt: isTimeOrNull,
  ownedTable: isFlag,
  refusedPackets: isCount,
  repairs: isCount,
  brokerLink: isText,
  leftovers: isListOf(isObjectOf({ kind: isText, rule: isText, remove: isText })),
  leftoversAt: (value) => value === undefined || isTimeOrNull(value),
  warnings: isListOf(isObjectOf({ code: isText, detail: isText })),
  hostNetwork: (value) => value === undefined || value === null || isHostNetwork(value),
  audit: isListOf(
    isObjectOf({ address: isText, via: isText, packets: isCount, firstSeen: isTime, lastSeen: isTime }),
  ),
} satisfies Readonly<Record<keyof Status, Check>>

/** Whether a guard of this release wrote this: the report of another release might be shown wrongly or incompletely. */
export const isWrittenStatus = isObjectOf<WrittenStatus>({
  version: (value) => value === 1,
  writtenAt: isTime,
  validSeconds: isCount,
  lookedAt: (value) =>
    value === undefined || isObjectOf({ network: isText, metadata: isListOf(isText) })(value),
  status: isObjectOf(STATUS),
})
