/** Which workloads would be refused if all nodes enforced. */
import type { MetadataUser } from '../../audit/metadata-users.ts'
import type { Snapshot } from '../snapshot.ts'
import { badge, type Html, html, isolated, MAX_ROWS, moreRows, plural, relative } from './html.ts'
import { section } from './section.ts'

export function auditSection({ audit, takenAt }: Snapshot): Html {
  const title = 'Audit'
  if (audit === null)
    return section(
      'audit',
      title,
      html`<p>
        No node that could be asked is in audit mode, so requests of pods to the metadata service are refused without being recorded. With
        <code>guard.mode=audit</code> this table shows which pods use the metadata service.
      </p>`,
    )
  const { seen, auditing, others } = audit
  const nodes = html`<p class="more">${plural(auditing, 'node')} in audit mode${
    others > 0 && `; ${others} others were not asked or are in another mode`
  }.</p>`
  if (seen.length === 0)
    return section(
      'audit',
      title,
      html`<p>${badge('good', 'No pod has used the metadata service.')}</p>${nodes}`,
    )
  const shown = seen.slice(0, MAX_ROWS)
  return section(
    'audit',
    title,
    html`<div class="wide" role="region" aria-label="Workloads that use the metadata service" tabindex="0">
        <table>
          <thead>
            <tr>
              <th scope="col">Workload</th><th scope="col">Namespace</th><th scope="col">Way</th>
              <th scope="col" class="number">Packets</th><th scope="col">First seen</th><th scope="col">Last seen</th>
              <th scope="col">What to do</th>
            </tr>
          </thead>
          <tbody>
            ${shown.map((one) => row(one, takenAt))}
          </tbody>
        </table>
      </div>
      ${moreRows(shown.length, seen.length, 'workloads')} ${nodes}`,
  )
}

const timeOf = (time: string, now: number): Html =>
  html`<time datetime="${time}">${relative(Date.parse(time) - now)}</time>`

function row(
  { workload, addresses, via, packets, firstSeen, lastSeen, todo }: MetadataUser,
  now: number,
): Html {
  const name = workload === null ? addresses.join(' ') : `${workload.kind}/${workload.name}`
  return html`<tr>
    <th scope="row">${isolated(name)}</th>
    <td>${workload === null ? html`<span class="none">none</span>` : isolated(workload.namespace)}</td>
    <td>${via === 'dnat' ? 'through kube2iam or kiam' : 'directly'}</td>
    <td class="number">${packets}</td>
    <td>${firstSeen === null ? html`<span class="none">not known</span>` : timeOf(firstSeen, now)}</td>
    <td>${timeOf(lastSeen, now)}</td>
    <td class="prose">${isolated(todo.detail)}</td>
  </tr>`
}
