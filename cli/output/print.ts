import { stringify } from 'yaml'
import type { Outcome, Page } from '../outcome.ts'

export const FORMATS = ['table', 'json', 'yaml'] as const
export type Format = (typeof FORMATS)[number]

/** The outcome as it is written to stdout. */
export function printed({ data, text }: Outcome, format: Format, page: Page): string {
  switch (format) {
    case 'json':
      return `${JSON.stringify(data, null, 2)}\n`
    case 'yaml':
      return stringify(JSON.parse(JSON.stringify(data)), { lineWidth: 0 })
    case 'table':
      return text(page)
  }
}
