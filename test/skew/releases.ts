/** Two neighbouring releases as programs: the recorded previous one, and this one, which is built here. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildComponent } from '../../build.ts'
import { type Program, unpackPrograms } from '../previous-release/programs.ts'

export const SIDES = ['previous', 'this'] as const
export type Side = (typeof SIDES)[number]

/** Both pairs of two different releases, and as a control both pairs of the same one. */
export const PAIRINGS = SIDES.flatMap((one) => SIDES.map((other) => [one, other] as const))
export const CROSSED = PAIRINGS.filter(([one, other]) => one !== other)

export type Releases = {
  /** The program's file, for `node`. */
  readonly file: (side: Side, program: Program) => string
  readonly remove: () => void
}

/** Unpacks the previous release's programs and builds this one's. */
export async function openReleases(...programs: readonly Program[]): Promise<Releases> {
  const previous = unpackPrograms()
  const directory = mkdtempSync(join(tmpdir(), 'pod2iam-this-'))
  const built = (program: Program) => join(directory, `${program}.cjs`)
  await Promise.all(programs.map((program) => buildComponent(program, built(program))))
  return {
    file: (side, program) => (side === 'previous' ? previous.file(program) : built(program)),
    remove: () => {
      previous.remove()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
