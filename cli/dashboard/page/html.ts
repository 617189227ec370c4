/**
 * Markup. Whatever stands in a template's braces is escaped by hono unless it is markup itself: names, annotations and texts of Events
 * are written by anybody who may create them.
 */
import { html } from 'hono/html'

export { html, raw } from 'hono/html'

export type Html = ReturnType<typeof html>

/** A text that others wrote, kept apart from what surrounds it, whatever direction its script is written in. */
export function foreign(text: string): Html {
  return html`<bdi>${text}</bdi>`
}

/** Characters that nobody sees, but for line feeds, and those that turn the direction of what follows (Unicode TR 9). */
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g

/** Keys and tokens that somebody wrote where they do not belong, such as in an annotation. */
const SECRETS = [
  // AWS access key ids.
  /\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b/g,
  // JSON Web Tokens.
  /\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/g,
  // Credentials in a URL.
  /(?<=\/\/)[^/@\s<>"]+(?=@)/g,
]

/** Markup as it is sent: nothing in it is invisible, or looks like a secret. */
export function fitToSend(markup: string): string {
  return SECRETS.reduce((rest, secret) => rest.replace(secret, '(left out)'), markup).replace(
    INVISIBLE,
    '\ufffd',
  )
}

/** So many rows of a table at most: a page of thousands serves nobody, and filters are above it. */
export const MOST_ROWS = 500

/** @param what in the plural */
export function moreRows(shown: number, all: number, what: string): Html {
  return html`${
    all > shown &&
    html`<p class="more">${shown} of ${all} ${what} are shown; the filters above find the others.</p>`
  }`
}

export type Tone = 'good' | 'bad' | 'warning' | 'unknown'
const MARKS = { good: '✔', bad: '✖', warning: '!', unknown: '?' } as const satisfies Record<Tone, string>

/** A state as a mark and a word, so that it is told by more than its colour. */
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

/** For an `id`: what identifies it, in characters that need no escape in a selector. */
export function idOf(kind: string, ...names: readonly string[]): string {
  return [kind, ...names.map((one) => encodeURIComponent(one).replaceAll('.', '-'))].join('_')
}
