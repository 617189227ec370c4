/** Checks that annotated pods are admitted while something else happens. */
import { setTimeout as wait } from 'node:timers/promises'
import type { Context } from './context.ts'
import { podObject } from './pods.ts'
import { expect } from './promise.ts'

const INTERVAL_MS = 100

export type Admitted = { asked: number; failed: number; last: string }

/** Requests admission of annotated pods by dry-run until `act` has ended; returns its result and what was admitted. */
export async function admittedMeanwhile<T>(context: Context, act: () => Promise<T>): Promise<[T, Admitted]> {
  const admitted = { asked: 0, failed: 0, last: '' }
  const ended = new AbortController()
  const asking = askAdmission(context, admitted, ended.signal)
  try {
    return [await act(), admitted]
  } finally {
    ended.abort()
    await asking
  }
}

/** Checks that all of them were admitted. */
export function expectAdmitted({ asked, failed, last }: Admitted): string {
  expect(failed === 0, `${failed} of ${asked} were refused; the last: ${last}`)
  return `${asked} admissions (dry-run), 0 refused`
}

async function askAdmission(
  { access, run, aws }: Context,
  admissions: Admitted,
  signal: AbortSignal,
): Promise<void> {
  const pod = podObject(run, { app: 'admitted', place: 'shop', role: aws.role })
  while (!signal.aborted) {
    admissions.asked++
    try {
      await access.kube.create(pod, { dryRun: true })
    } catch (error) {
      admissions.failed++
      admissions.last = String(error)
    }
    await wait(INTERVAL_MS, undefined, { signal }).catch(() => undefined)
  }
}
