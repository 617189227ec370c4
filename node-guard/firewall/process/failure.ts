/** Why something could not be done. */
export type Failure = {
  readonly ok: false
  /** One sentence with the remedy. */
  readonly detail: string
  /** This machine cannot do it, however often it is tried. Then nothing of ours was left by this means either… */
  readonly unusable: boolean
  /** …except where rules stand that nobody could read, so that some may be ours. */
  readonly mayStand?: true
  /** Perhaps because another program changed the rules since they were read. */
  readonly raced?: true
  /** For want of memory. */
  readonly tooBig?: true
}

export const failed = (detail: string, unusable = false): Failure => ({ ok: false, detail, unusable })
