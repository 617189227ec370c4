import { styleText } from 'node:util'
import type { Paint, Tone } from '../outcome.ts'

const STYLES = {
  good: 'green',
  bad: 'red',
  warning: 'yellow',
  dim: 'dim',
  bold: 'bold',
} as const satisfies Record<Tone, string>

export const noPaint: Paint = (_tone, text) => text

/** Colours on a terminal; none with `NO_COLOR` (no-color.org), which Node's styles respect. */
export function paintFor(stream: NodeJS.WritableStream, isWanted: boolean): Paint {
  if (!isWanted) return noPaint
  return (tone, text) => styleText(STYLES[tone], text, { stream, validateStream: true })
}
