/** All shapes, by what they vary. */
import { HOSTS } from './hosts.ts'
import { LINES } from './lines.ts'
import type { Shape } from './shape.ts'
import { TOKENS } from './tokens.ts'

export type { Shape } from './shape.ts'
export const SHAPES: Readonly<Record<string, readonly Shape[]>> = {
  'whom a request names': HOSTS,
  'how a token is asked for': TOKENS,
  'lines, versions, methods and targets': LINES,
}
