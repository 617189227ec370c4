/** The filters, as a form that turns them into an address. */
import { addressOf, type Filter, NO_FILTER } from '../filter.ts'
import type { Snapshot } from '../snapshot.ts'
import { type Html, html } from './html.ts'

const MAX_OFFERED = 1000

/** @param snapshot before filtering, with everything that can be chosen */
export function filterForm(filter: Filter, snapshot: Snapshot | undefined): Html {
  const { pods, refusals, nodes } = snapshot ?? {}
  const namespaces = [...(pods ?? []), ...(refusals ?? [])].map((one) => one.namespace)
  const isSet = addressOf(filter) !== addressOf(NO_FILTER)
  return html`<form method="get" action="./" role="search" aria-label="Filters">
    ${field('namespace', 'Namespace', filter.namespace, namespaces)}
    ${field(
      'role',
      'Role (* is a wildcard)',
      filter.role,
      (pods ?? []).flatMap(({ role }) => role ?? []),
    )}
    ${field(
      'node',
      'Node',
      filter.node,
      (nodes ?? []).map(({ node }) => node),
    )}
    <label>
      Show
      <select name="state">
        <option value="all" ${filter.state === 'all' && html`selected`}>everything</option>
        <option value="trouble" ${filter.state === 'trouble' && html`selected`}>only problems</option>
      </select>
    </label>
    <button>Filter</button>
    ${isSet && html`<a class="clear" href="./">Clear filters</a>`}
  </form>`
}

function field(name: string, label: string, value: string, offered: readonly string[]): Html {
  const options = [...new Set(offered)].sort().slice(0, MAX_OFFERED)
  return html`<label>
    ${label}
    <input name="${name}" value="${value}" list="${name}-known" autocomplete="off" spellcheck="false">
    <datalist id="${name}-known">${options.map((one) => html`<option value="${one}"></option>`)}</datalist>
  </label>`
}
