/** The pods with a sidecar, by namespace and role. */
import type { Holder } from '../../who/holders.ts'
import { addressOf, type Filter, isWaiting } from '../filter.ts'
import type { Snapshot } from '../snapshot.ts'
import { badge, type Html, html, idOf, isolated, MAX_ROWS, moreRows, plural, relative } from './html.ts'
import { type NodeNames, nodeName } from './nodes.ts'
import { notListedText, section } from './section.ts'

/** The sidecar renews credentials long before this; docs/metrics.md has the alert. */
const SOON_MS = 5 * 60_000

type Context = { readonly now: number; readonly names: NodeNames }

export function podsSection({ pods, takenAt }: Snapshot, filter: Filter, names: NodeNames): Html {
  const title = 'Pods and their roles'
  if (pods === null) return section('pods', title, notListedText('pods'))
  if (pods.length === 0)
    return section('pods', title, html`<p>No pod has a sidecar, or the filters hide all of them.</p>`)
  const shown = pods.toSorted(byPlace).slice(0, MAX_ROWS)
  return section(
    'pods',
    title,
    html`<div class="wide" role="region" aria-label="Pods and their roles" tabindex="0">
        <table>
          <thead>
            <tr>
              <th scope="col">Role</th><th scope="col">Pod</th><th scope="col">Credentials</th>
              <th scope="col">Expire</th><th scope="col">Session in CloudTrail</th><th scope="col">Node</th>
            </tr>
          </thead>
          ${[...Map.groupBy(shown, ({ namespace }) => namespace)].map(([name, members]) =>
            ofNamespace(name, members, filter, { now: takenAt, names }),
          )}
        </table>
      </div>
      ${moreRows(shown.length, pods.length, 'pods')}`,
  )
}

function ofNamespace(name: string, pods: readonly Holder[], filter: Filter, context: Context): Html {
  const waiting = pods.filter(isWaiting).length
  return html`<tbody>
    <tr class="group">
      <th scope="rowgroup" colspan="6">
        <a id="${idOf('namespace', name)}" href="${addressOf({ ...filter, namespace: name })}">${isolated(name)}</a>
        <span class="count">${plural(pods.length, 'pod')}${waiting > 0 && `, ${waiting} without credentials`}</span>
      </th>
    </tr>
    ${[...Map.groupBy(pods, ({ role }) => role)].map(([, members]) =>
      members.map((one, index) => row(one, index === 0 ? members.length : 0, context)),
    )}
  </tbody>`
}

/** @param span number of rows of this role if this is the first of them, otherwise 0 */
function row(one: Holder, span: number, { now, names }: Context): Html {
  const role = html`<th scope="row" class="role" rowspan="${span}">
    ${one.role === null ? html`<em>no role: only Region and placement</em>` : shortRole(one.role)}
    ${one.source === 'default' && html`<span class="count">by default</span>`}
  </th>`
  return html`<tr>
    ${span > 0 && role}
    <td>${isolated(one.pod)}</td>
    <td>${stateOf(one)}</td>
    <td>${expiryOf(one, now)}</td>
    <td>${one.session === null ? html`<span class="none">none</span>` : isolated(one.session)}</td>
    <td>${one.node === null ? html`<span class="none">none yet</span>` : nodeName(one.node, names)}</td>
  </tr>`
}

/** The account of an ARN is the same in most rows, so it is shown in a smaller font. */
function shortRole(role: string): Html {
  const [, start, name] = /^(arn:[^/]*\/)(.+)$/.exec(role) ?? []
  return start === undefined || name === undefined
    ? isolated(role)
    : html`<bdi><span class="arn">${start}</span><wbr>${name}</bdi>`
}

function stateOf(one: Holder): Html {
  if (one.refused !== null) return badge('bad', one.refused)
  if (!one.ready) return badge('warning', 'waiting')
  return badge('good', one.role === null ? 'not needed' : 'has credentials')
}

function expiryOf({ expires, isAsked, role }: Holder, now: number): Html {
  if (role === null) return html`<span class="none">never</span>`
  if (expires === null) return html`<span class="none">${isAsked ? 'none' : 'not asked'}</span>`
  const left = Date.parse(expires) - now
  const time = html`<time datetime="${expires}">${left > 0 ? relative(left) : 'expired'}</time>`
  return left > SOON_MS
    ? time
    : html`<span class="state warning"><span class="mark" aria-hidden="true">!</span> ${time}</span>`
}

function byPlace(one: Holder, other: Holder): number {
  return (
    one.namespace.localeCompare(other.namespace) ||
    (one.role ?? '').localeCompare(other.role ?? '') ||
    one.pod.localeCompare(other.pod)
  )
}
