/**
 * Markup. hono escapes every value in a template unless it is markup itself: names, annotations and messages of Events
 * are written by anyone who may create such objects.
 */
import { html } from 'hono/html'

export { html, raw } from 'hono/html'

export type Html = ReturnType<typeof html>

/** A text that others wrote, isolated from its surroundings, so that its writing direction does not affect them. */
export function isolated(text: string): Html {
  return html`<bdi>${text}</bdi>`
}

/** Invisible characters except line feeds, and characters that change the writing direction (Unicode TR 9). */
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g

/** Keys and tokens in places where they do not belong, such as annotations. */
const SECRETS = [
  // AWS access key ids.
  /\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b/g,
  // JSON Web Tokens.
  /\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g,
  // Credentials in a URL.
  /(?<=\/\/)[^/@\s<>"]+(?=@)/g,
]

/** Markup as it is sent, without invisible characters and without texts that look like secrets. */
export function sanitized(markup: string): string {
  return SECRETS.reduce((rest, secret) => rest.replace(secret, '(left out)'), markup).replace(
    INVISIBLE,
    '\ufffd',
  )
}

/** Maximum number of rows in a table: thousands would not help anyone, and there are filters. */
export const MAX_ROWS = 500

/** @param what plural noun */
export function moreRows(shown: number, all: number, what: string): Html {
  return html`${
    all > shown &&
    html`<p class="more">${shown} of ${all} ${what} are shown; use the filters above to find the others.</p>`
  }`
}

export type Tone = 'good' | 'bad' | 'warning' | 'unknown'
const MARKS = { good: '✔', bad: '✖', warning: '!', unknown: '?' } as const satisfies Record<Tone, string>

/** A state as a symbol and a word, so that it is not shown by colour alone. */
export function badge(tone: Tone, text: string): Html {
  return html`<span class="state ${tone}"><span class="mark" aria-hidden="true">${MARKS[tone]}</span> ${text}</span>`
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}

/** `in 43 min`, `4 min ago`. */
export function relative(milliseconds: number): string {
  const minutes = Math.round(Math.abs(milliseconds) / 60_000)
  const text = minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`
  if (minutes < 1) return milliseconds >= 0 ? 'in less than a minute' : 'just now'
  return milliseconds >= 0 ? `in ${text}` : `${text} ago`
}

/** Makes an `id` from texts that identify an element, with characters that need no escaping in a selector. */
export function idOf(kind: string, ...names: readonly string[]): string {
  return [kind, ...names.map((one) => encodeURIComponent(one).replaceAll('.', '-'))].join('_')
}
