import type { Cluster } from '../cluster/cluster.ts'
import { findInstallation } from '../cluster/installation.ts'
import type { Check, Step } from '../explain/step.ts'
import { exitCode, type Outcome, type Page } from '../outcome.ts'
import { refusalsText } from '../output/refusals.ts'
import { indented } from '../output/table.ts'
import { reportNodes } from '../status/nodes.ts'
import { readVersions } from '../status/versions.ts'
import { holdersOf, injectedPods } from '../who/holders.ts'
import { clusterChecks, readClusterState } from './cluster-items.ts'
import { healthChecks } from './health-items.ts'

export type CheckResult = Outcome & {
  readonly items: readonly Step[]
  readonly isInstalled: boolean
}

/** `check`: whether the cluster is suitable for an installation, and whether an existing installation works. */
export async function check(cluster: Cluster, now = Date.now): Promise<CheckResult> {
  const [installation, around] = await Promise.all([findInstallation(cluster), readClusterState(cluster)])
  const before = await look(clusterChecks(cluster, installation, around))
  const isInstalled = installation.namespace !== undefined
  let health: readonly Step[] = []
  if (isInstalled) {
    const [nodes, versions, pods] = await Promise.all([
      reportNodes(cluster, installation),
      readVersions(cluster, installation),
      injectedPods(cluster, undefined),
    ])
    const options = { isAsking: false, role: undefined, now }
    const holders = pods && (await holdersOf(cluster, installation, pods, options))
    health = await look(healthChecks(cluster, installation, { nodes, versions, holders }, now()))
  }
  const items = [...before, ...health]
  const refused = cluster.refusals()
  const isIncomplete = !installation.isListable || items.some(({ state }) => state === 'not-checked')
  return {
    items,
    isInstalled,
    data: { installed: installation.isListable ? isInstalled : null, items, refused },
    text: (page) =>
      [
        page.paint('bold', 'The cluster'),
        ...before.map((item) => itemText(item, page)),
        '',
        page.paint('bold', isInstalled ? 'pod2iam' : notInstalled(installation.isListable)),
        ...health.map((item) => itemText(item, page)),
        '',
        summary(items, page),
        refusalsText(refused, page),
      ].join('\n'),
    exit: exitCode(
      items.some(({ state }) => state === 'failed'),
      isIncomplete,
    ),
  }
}

/** These checks do not depend on each other. */
function look(checks: readonly Check[]): Promise<Step[]> {
  return Promise.all(checks.map(async ({ id, title, look }) => ({ id, title, ...(await look()) })))
}

const notInstalled = (isListable: boolean) =>
  isListable
    ? 'pod2iam is not installed yet: docs/install.md'
    : 'you may not see whether pod2iam is installed'

const MARK = { ok: '✔', warning: '!', failed: '✖', 'not-checked': '-' } as const
const TONE = { ok: 'good', warning: 'warning', failed: 'bad', 'not-checked': 'dim' } as const
const TITLE = 20
const MARGIN = 4

function itemText(item: Step, page: Page): string {
  const { state, title, detail } = item
  const code = state === 'failed' || state === 'warning' ? `${item.code}: ` : ''
  const remedy = state === 'failed' ? `\n→ ${item.remedy}` : ''
  const text = state === 'not-checked' ? page.paint('dim', `not checked: ${detail}`) : code + detail + remedy
  const margin = MARGIN + TITLE
  return `  ${page.paint(TONE[state], MARK[state])} ${title.padEnd(TITLE)}${indented(text, margin, page).slice(margin)}`
}

function summary(items: readonly Step[], { paint }: Page): string {
  const of = (state: Step['state']) => items.filter((one) => one.state === state).length
  const [failed, warnings, unchecked] = [of('failed'), of('warning'), of('not-checked')]
  const parts = [
    `${of('ok')} ok`,
    ...(warnings > 0 ? [paint('warning', `${warnings} ${warnings === 1 ? 'warning' : 'warnings'}`)] : []),
    ...(failed > 0 ? [paint('bad', `${failed} wrong`)] : []),
    ...(unchecked > 0 ? [paint('dim', `${unchecked} not checked`)] : []),
  ]
  return parts.join(', ')
}
