/** All shapes, grouped by what they vary. */
import { HOSTS } from './hosts.ts'
import { LINES } from './lines.ts'
import type { Shape } from './shape.ts'
import { TOKENS } from './tokens.ts'

export type { Shape } from './shape.ts'
export const SHAPES: Readonly<Record<string, readonly Shape[]>> = {
  'for the host that a request names': HOSTS,
  'for requests of tokens': TOKENS,
  'for lines, versions, methods and targets': LINES,
}
