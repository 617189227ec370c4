/** The kubelet's crash-loop back-off, with a shorter base. */

export type BackOff = {
  /** Milliseconds before the second restart; the first one is immediate, and each further one waits twice as long. */
  readonly base: number
  readonly max: number
  /** Milliseconds: after a run that was longer, the back-off starts again. */
  readonly resetAfter: number
}

/** 250 ms instead of the kubelet's 10 s, 5 s instead of its 5 minutes, and 10 s instead of its 10 minutes. */
export const SANDBOX_BACK_OFF: BackOff = { base: 250, max: 5000, resetAfter: 10_000 }

/** Milliseconds to wait before restart number `restart` (1 is the first). */
export function backOffDelay(restart: number, { base, max }: Pick<BackOff, 'base' | 'max'>): number {
  return restart <= 1 ? 0 : Math.min(base * 2 ** (restart - 2), max)
}
