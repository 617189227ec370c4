/** Faults on demand: which of them apply to a request, and how often they still do. */
import type { Fault, FaultEffect } from './model.ts'

/** What is known about a request when the faults for it are looked up. */
export type FaultFacts = {
  readonly service: 'sts' | 'imds'
  readonly peer: string
  readonly action?: string | undefined
  readonly role?: string | undefined
  readonly path?: string | undefined
}

/** What to do with a request: wait first, then the effect, or answer properly if there is none. */
export type FaultPlan = { readonly delay: number; readonly effect: FaultEffect | undefined }

export const HANG_DEFAULT_MS = 30_000
export const HANG_MAX_MS = 120_000

const KINDS: readonly string[] = [
  'throttle',
  'deny',
  'unavailable',
  'error',
  'slow',
  'hang',
  'close',
  'answer',
] satisfies FaultEffect['kind'][]

export class Faults {
  #entries: { readonly id: string; readonly fault: Fault; left: number }[] = []
  #next = 1

  /** Adds a fault and returns its id. Throws a sentence if it is invalid. */
  add(fault: Fault): string {
    if (fault.service !== 'sts' && fault.service !== 'imds')
      throw new Error('a fault needs service "sts" or "imds"')
    if (!KINDS.includes(fault.kind)) throw new Error(`"${fault.kind}" is not one of ${KINDS.join(', ')}`)
    if (fault.calls !== undefined && !(Number.isInteger(fault.calls) && fault.calls > 0))
      throw new Error('calls of a fault must be a positive whole number')
    if ('ms' in fault && !(typeof fault.ms === 'number' && fault.ms >= 0 && fault.ms <= HANG_MAX_MS))
      throw new Error(`ms of a fault must be from 0 to ${HANG_MAX_MS}`)
    const id = `fault-${this.#next++}`
    this.#entries.push({ id, fault, left: fault.calls ?? Number.POSITIVE_INFINITY })
    return id
  }

  /** Removes one fault, or all of them. */
  clear(id?: string): void {
    this.#entries = id === undefined ? [] : this.#entries.filter((entry) => entry.id !== id)
  }

  /**
   * Takes the faults that apply to a request: every matching delay, and the first other effect. Each of them uses up one
   * of its `calls`.
   */
  take(facts: FaultFacts): FaultPlan {
    let delay = 0
    let effect: FaultEffect | undefined
    for (const entry of this.#entries) {
      if (!catches(entry.fault, facts) || (entry.fault.kind !== 'slow' && effect)) continue
      entry.left--
      if (entry.fault.kind === 'slow') delay += entry.fault.ms
      else effect = entry.fault
    }
    this.#entries = this.#entries.filter((entry) => entry.left > 0)
    return { delay, effect }
  }
}

function catches(fault: Fault, facts: FaultFacts): boolean {
  return (
    fault.service === facts.service &&
    (fault.peer === undefined || fault.peer === facts.peer) &&
    (fault.action === undefined || fault.action === facts.action) &&
    (fault.role === undefined || fault.role === facts.role) &&
    (fault.path === undefined || facts.path?.startsWith(fault.path) === true)
  )
}
