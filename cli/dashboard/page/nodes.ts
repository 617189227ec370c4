/** The nodes as a map, and their problems. */

import { withoutCommonDomain } from '../../output/shorten.ts'
import type { NodeReport } from '../../status/nodes.ts'
import { skewOf, type Versions } from '../../status/versions.ts'
import { addressOf, type Filter, hasProblem } from '../filter.ts'
import type { Snapshot } from '../snapshot.ts'
import { hostNetworkTable } from './host-network.ts'
import { badge, type Html, html, idOf, isolated, MAX_ROWS, moreRows, plural, type Tone } from './html.ts'
import { notListedText, section } from './section.ts'

/** Displayed names of nodes, by full name. */
export type NodeNames = ReadonlyMap<string, string>

/** @param snapshot before filtering, so that names do not depend on the filters */
export function nodeNames({ nodes, pods }: Snapshot): NodeNames {
  const all = [...new Set([...(nodes ?? []), ...(pods ?? [])].flatMap(({ node }) => node ?? []))]
  const short = withoutCommonDomain(all)
  return new Map(all.map((name, index) => [name, short[index] ?? name]))
}

/** A node's short name, with the full name in the tooltip. */
export function nodeName(name: string, names: NodeNames): Html {
  const short = names.get(name) ?? name
  return short === name ? isolated(name) : html`<bdi title="${name}">${short}</bdi>`
}

export function nodesSection(
  { nodes, versions, isInstalled, takenAt }: Snapshot,
  filter: Filter,
  names: NodeNames,
): Html {
  if (isInstalled === false)
    return section(
      'nodes',
      'Nodes',
      html`<p>
        pod2iam is not installed in this cluster: it has neither an injector nor a node guard.
        <code>pod2iam check</code> says whether it can be.
      </p>`,
    )
  if (nodes === null) return section('nodes', 'Nodes', notListedText('nodes'))
  const shown = nodes.toSorted(troubledFirst).slice(0, MAX_ROWS)
  const map = html`<ul class="map">
    ${shown.map((one) => tile(one, filter, names))}
  </ul>`
  return section(
    'nodes',
    'Nodes',
    html`${shown.length === 0 ? html`<p>The filters hide all nodes.</p>` : map}
    ${moreRows(shown.length, nodes.length, 'nodes')} ${findings(shown, names)}
    ${hostNetworkTable(nodes, takenAt, (node) => nodeName(node, names))} ${versions && releases(versions)}`,
  )
}

function tile(one: NodeReport, filter: Filter, names: NodeNames): Html {
  const block = blockOf(one)
  const isReady = one.broker === 'ready'
  const worst = hasProblem(one) ? 'bad' : block.tone
  return html`<li class="tile ${worst}">
    <a id="${idOf('node', one.node)}" href="${addressOf({ ...filter, node: one.node })}">${nodeName(one.node, names)}</a>
    <dl>
      <div><dt>Block</dt><dd>${badge(block.tone, block.text)}</dd></div>
      <div><dt>Broker</dt><dd>${badge(isReady ? 'good' : 'bad', one.broker)}</dd></div>
      <div><dt>Refused</dt><dd>${counted(one.refusedPackets, 'packet')}</dd></div>
      <div><dt>Repairs</dt><dd>${one.repairs ?? 'not known'}</dd></div>
      <div><dt>Release</dt><dd>${one.version ?? 'none'}</dd></div>
    </dl>
  </li>`
}

function blockOf({ verified, mode, backend }: NodeReport): { readonly tone: Tone; readonly text: string } {
  if (verified === null) return { tone: 'unknown', text: 'not asked' }
  if (!verified) return { tone: 'bad', text: 'not blocked' }
  if (mode === 'enforce') return { tone: 'good', text: `blocked (${backend})` }
  return { tone: 'warning', text: mode === 'audit' ? 'audit only' : 'removed' }
}

const counted = (count: number | null, what: string) => (count === null ? 'not known' : plural(count, what))

function findings(nodes: readonly NodeReport[], names: NodeNames): Html {
  const all = nodes.flatMap(({ node, troubles, warnings }) => [
    ...troubles.map((one) => ({ node, ...one, tone: 'bad' as const })),
    ...warnings.map((one) => ({ node, ...one, tone: 'warning' as const })),
  ])
  if (all.length === 0) return html``
  const shown = all.slice(0, MAX_ROWS)
  return html`<h3>Problems and warnings</h3>
    <div class="wide" role="region" aria-label="Findings on nodes" tabindex="0">
      <table>
        <thead>
          <tr><th scope="col">Node</th><th scope="col">Finding</th><th scope="col">What it means</th></tr>
        </thead>
        <tbody>
          ${shown.map(
            ({ node, code, detail, tone }) => html`<tr>
              <th scope="row">${nodeName(node, names)}</th>
              <td>${badge(tone, code)}</td>
              <td class="prose">${isolated(detail)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    ${moreRows(shown.length, all.length, 'findings')}`
}

function releases(versions: Versions): Html {
  const shown = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([release, count]) => `${count} of ${release}`)
      .join(', ') || 'none'
  const skew = skewOf(versions)
  return html`<p class="releases">
      Injectors: ${shown(versions.injector)}; node guards: ${shown(versions.nodeGuard)}; sidecars:
      ${shown(versions.sidecars)}.
    </p>
    ${skew !== undefined && html`<p>${badge('warning', skew)}</p>`}`
}

function troubledFirst(one: NodeReport, other: NodeReport): number {
  return Number(hasProblem(other)) - Number(hasProblem(one)) || one.node.localeCompare(other.node)
}
