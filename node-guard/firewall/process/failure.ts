import { type Failed, failed } from '../../../common/result.ts'

/** Why the rules could not be read or written. */
export type Failure = Failed & {
  /** This machine cannot do it, however often it is tried. Then nothing of ours was left by this means either… */
  readonly unusable?: true
  /** …except where rules stand that nobody could read, so that some may be ours. */
  readonly mayRemain?: true
  /** Perhaps because another program changed the rules since they were read. */
  readonly raced?: true
  /** Because of a lack of memory. */
  readonly tooBig?: true
}

export const unusable = (detail: string): Failure => ({ ...failed(detail), unusable: true })
