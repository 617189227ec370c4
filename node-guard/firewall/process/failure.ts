import { type Failed, failed } from '../../../common/result.ts'

/** Why the rules could not be read or written. */
export type Failure = Failed & {
  /** This machine cannot do it, however often it is tried; so this backend has left no rules of ours, unless `mayRemain`. */
  readonly unusable?: true
  /** There are rules that could not be read, so that some may be ours. */
  readonly mayRemain?: true
  /** Possibly because another program changed the rules since they were read. */
  readonly raced?: true
  /** Because of a lack of memory. */
  readonly tooBig?: true
}

export const unusable = (detail: string): Failure => ({ ...failed(detail), unusable: true })
