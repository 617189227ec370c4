import { type Asked, askedText } from '../cluster/asked.ts'
import type { Page } from '../outcome.ts'
import { indented } from './table.ts'

/** What the caller may not do, at the end of an output that has less for it; empty where there is nothing. */
export function refusalsText(refused: readonly Asked[], page: Page): string {
  if (refused.length === 0) return ''
  const lines = refused.map((one) => indented(askedText(one), 2, page))
  const { paint } = page
  return `\n${paint('warning', 'Not shown, because you may not:')}\n${lines.join('\n')}\n`
}
