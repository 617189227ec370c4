/** Which pods and workloads are refused, and what to do about it. */
import type { Refusal, Snapshot } from '../snapshot.ts'
import { badge, type Html, html, isolated, MAX_ROWS, moreRows, relative } from './html.ts'
import { notListedText, section } from './section.ts'

export function refusalsSection({ refusals, takenAt }: Snapshot): Html {
  const title = 'Refusals'
  if (refusals === null) return section('refusals', title, notListedText('Events'))
  if (refusals.length === 0)
    return section('refusals', title, html`<p>${badge('good', 'Nothing is refused.')}</p>`)
  const shown = refusals.slice(0, MAX_ROWS)
  return section(
    'refusals',
    title,
    html`<ul class="refusals">
        ${shown.map((one) => item(one, takenAt))}
      </ul>
      ${moreRows(shown.length, refusals.length, 'refusals')}
      <p class="more">
        The API server keeps Events for an hour, so problems that were fixed since may still be listed. If admission refuses a pod without a
        workload, there is no Event: only the user who applied it saw the error.
      </p>`,
  )
}

function item({ namespace, kind, name, code, detail, remedy, command, at }: Refusal, now: number): Html {
  return html`<li>
    <h3>${isolated(`${namespace}/${name}`)} <span class="count">${kind}</span></h3>
    <p>${badge('bad', code)} <span class="count">${at === null ? 'now' : relative(Date.parse(at) - now)}</span></p>
    <p class="prose">${isolated(detail)}</p>
    <p class="prose"><strong>Remedy:</strong> ${isolated(remedy)}</p>
    <p><code>${command}</code></p>
  </li>`
}
