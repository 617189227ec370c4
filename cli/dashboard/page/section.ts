import { type Html, html } from './html.ts'

export type SectionId = 'nodes' | 'pods' | 'refusals' | 'audit'

/** A part of the page, which is replaced as a whole when it changes. */
export function section(id: SectionId, title: string, content: Html): Html {
  return html`<section id="${id}" aria-labelledby="${id}-title">
    <h2 id="${id}-title">${title}</h2>
    ${content}
  </section>`
}

export function notListedText(what: string): Html {
  return html`<p>The ${what} could not be read; the end of this page says what was forbidden or failed.</p>`
}
