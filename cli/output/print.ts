import { stringify } from 'yaml'
import type { Outcome, Page } from '../outcome.ts'

export const FORMATS = ['table', 'json', 'yaml'] as const
export type Format = (typeof FORMATS)[number]

/** What `paint` writes. Any other control sequence comes from an annotation, a log or an Event. */
const OWN_STYLES = /^\x1b\[(?:1|2|22|31|32|33|39)m$/
const CONTROLS = /\x1b\[\d{1,2}m|[\x00-\x09\x0b-\x1f\x7f-\x9f]/g

/** Removes control sequences that others wrote, so that they do not control the user's terminal. */
export function withoutControlSequences(text: string): string {
  return text.replace(CONTROLS, (found) => (OWN_STYLES.test(found) ? found : ''))
}

/** The outcome as written to stdout. */
export function printed({ data, text }: Outcome, format: Format, page: Page): string {
  switch (format) {
    case 'json':
      // JSON escapes all other control characters.
      return `${JSON.stringify(data, null, 2)}\n`.replace(
        /[\x7f-\x9f]/g,
        (found) => `\\u00${found.charCodeAt(0).toString(16)}`,
      )
    case 'yaml':
      return withoutControlSequences(stringify(JSON.parse(JSON.stringify(data)), { lineWidth: 0 }))
    case 'table':
      return withoutControlSequences(text(page))
  }
}
