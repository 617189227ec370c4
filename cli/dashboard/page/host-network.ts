/** Which pods on the host network use the metadata service, with `guard.hostNetwork`. */
import type { NodeReport } from '../../status/nodes.ts'
import { badge, type Html, html, isolated, MAX_ROWS, moreRows, relative } from './html.ts'

/**
 * The table; nothing where no pod was seen.
 *
 * @param nameOf how a node is displayed
 */
export function hostNetworkTable(
  nodes: readonly NodeReport[],
  takenAt: number,
  nameOf: (node: string) => Html,
): Html {
  const all = nodes.flatMap(({ node, hostNetwork }) =>
    (hostNetwork?.pods ?? []).map((pod) => ({ node, ...pod })),
  )
  if (all.length === 0) return html``
  const shown = all.toSorted((a, b) => Number(a.allowed) - Number(b.allowed)).slice(0, MAX_ROWS)
  return html`<h3>On the host network</h3>
    <div class="wide" role="region" aria-label="Pods on the host network that use the metadata service" tabindex="0">
      <table>
        <thead>
          <tr>
            <th scope="col">Pod</th><th scope="col">Namespace</th><th scope="col">Node</th>
            <th scope="col">Node's role</th><th scope="col" class="number">Packets</th>
            <th scope="col">Last seen</th>
          </tr>
        </thead>
        <tbody>
          ${shown.map(
            ({ node, namespace, name, allowed, packets, lastSeen }) => html`<tr>
              <th scope="row">${isolated(name)}</th>
              <td>${isolated(namespace)}</td>
              <td>${nameOf(node)}</td>
              <td>${allowed ? badge('good', 'allowed') : badge('warning', 'not allowed')}</td>
              <td class="number">${packets}</td>
              <td><time datetime="${lastSeen}">${relative(Date.parse(lastSeen) - takenAt)}</time></td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    ${moreRows(shown.length, all.length, 'pods')}`
}
