/** The summary of the page, which screen readers announce when it changes. */
import { requestText } from '../../cluster/api-request.ts'
import type { View } from '../feed.ts'
import { hasProblem, isWaiting } from '../filter.ts'
import type { Fault, Snapshot } from '../snapshot.ts'
import { badge, type Html, html, isolated, type Tone } from './html.ts'

type Card = { readonly href: string; readonly title: string; readonly tone: Tone; readonly text: string }

export function summarySection({ snapshot, fault }: View): Html {
  const words = fault === undefined ? [] : [faultText(fault, 'bad')]
  return html`<div id="summary">
    ${words} ${snapshot === undefined && fault === undefined && html`<p>The cluster is being read.</p>`}
    ${snapshot && html`<ul class="cards">${cardsOf(snapshot).map(card)}</ul>`}
  </div>`
}

function card({ href, title, tone, text }: Card): Html {
  return html`<li class="${tone}"><a id="to-${href.slice(1)}" href="${href}">${title}</a> ${badge(tone, text)}</li>`
}

const UNKNOWN = { tone: 'unknown', text: 'not known' } as const
type State = Pick<Card, 'tone' | 'text'>

function cardsOf(snapshot: Snapshot): Card[] {
  return [
    { href: '#nodes', title: 'Nodes', ...ofNodes(snapshot) },
    { href: '#refusals', title: 'Refusals', ...ofRefusals(snapshot) },
    { href: '#pods', title: 'Pods', ...ofPods(snapshot) },
    { href: '#audit', title: 'Audit', ...ofAudit(snapshot) },
  ]
}

function ofNodes({ nodes }: Snapshot): State {
  if (nodes === null) return UNKNOWN
  const troubled = nodes.filter(hasProblem).length
  if (troubled > 0) return { tone: 'bad', text: `${troubled} of ${nodes.length} with problems` }
  const unasked = nodes.filter(({ verified }) => verified === null).length
  if (unasked > 0) return { tone: 'unknown', text: `${unasked} of ${nodes.length} not asked` }
  return { tone: 'good', text: nodes.length === 1 ? '1 works' : `all ${nodes.length} work` }
}

function ofPods({ pods }: Snapshot): State {
  if (pods === null) return UNKNOWN
  const waiting = pods.filter(isWaiting).length
  if (waiting > 0) return { tone: 'warning', text: `${waiting} of ${pods.length} without credentials` }
  return { tone: 'good', text: pods.length === 0 ? 'none' : `${pods.length} served` }
}

function ofRefusals({ refusals }: Snapshot): State {
  if (refusals === null) return UNKNOWN
  return refusals.length > 0 ? { tone: 'bad', text: String(refusals.length) } : { tone: 'good', text: 'none' }
}

function ofAudit({ audit }: Snapshot): State {
  if (audit === null) return { tone: 'unknown', text: 'no node in audit mode' }
  return audit.seen.length > 0
    ? { tone: 'warning', text: `${audit.seen.length} would be refused` }
    : { tone: 'good', text: 'none would be refused' }
}

/** What RBAC forbids and what failed, so that nobody takes an incomplete page for a complete one. */
export function limitsSection(snapshot: Snapshot | undefined): Html {
  const { refused = [], faults = [] } = snapshot ?? {}
  return html`<div id="limits">
    ${
      refused.length > 0 &&
      html`<section aria-labelledby="limits-title">
        <h2 id="limits-title">Not shown, because you lack these permissions</h2>
        <ul>
          ${refused.map((one) => html`<li><code>${requestText(one)}</code></li>`)}
        </ul>
      </section>`
    }
    ${faults.map((one) => faultText(one, 'warning'))}
  </div>`
}

function faultText({ code, message, remedy }: Fault, tone: Tone): Html {
  return html`<p class="fault">${badge(tone, code)} ${isolated(message)}. <strong>Remedy:</strong> ${isolated(remedy)}.</p>`
}
