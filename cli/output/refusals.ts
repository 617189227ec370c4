import { type ApiRequest, requestText } from '../cluster/api-request.ts'
import type { Page } from '../outcome.ts'
import { indented } from './table.ts'

/** The permissions that the caller lacks, for the end of an output that is incomplete because of them; empty if none is missing. */
export function refusalsText(refused: readonly ApiRequest[], page: Page): string {
  if (refused.length === 0) return ''
  const lines = refused.map((one) => indented(requestText(one), 2, page))
  const { paint } = page
  return `\n${paint('warning', 'Not shown, because you lack these permissions:')}\n${lines.join('\n')}\n`
}
