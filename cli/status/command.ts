import type { Cluster } from '../cluster/cluster.ts'
import { findInstallation } from '../cluster/installation.ts'
import { CliError } from '../failure.ts'
import { exitCode, type Outcome, type Page } from '../outcome.ts'
import { refusalsText } from '../output/refusals.ts'
import { withoutCommonDomain } from '../output/shorten.ts'
import { indented, table } from '../output/table.ts'
import { type NodeReport, reportNodes } from './nodes.ts'
import { readVersions, skewOf, type Versions } from './versions.ts'

/** `status`: the current state of every node. */
export async function status(cluster: Cluster): Promise<Outcome> {
  const installation = await findInstallation(cluster)
  if (installation.namespace === undefined && installation.isListable)
    throw new CliError(
      'not-installed',
      'pod2iam is not installed in this cluster: it has neither an injector nor a node guard',
      'pod2iam check says whether it can be installed, and docs/install.md explains how',
    )
  const { reports, isComplete } = await reportNodes(cluster, installation)
  const versions = await readVersions(cluster, installation)
  const skew = skewOf(versions)
  const refused = cluster.refusals()
  const isIncomplete = !isComplete || reports.some(({ verified }) => verified === null)
  return {
    data: { nodes: reports, versions, skew: skew ?? null, refused },
    text: (page) =>
      nodesText(reports, page) + versionsText(versions, skew, page) + refusalsText(refused, page),
    exit: exitCode(
      reports.some(({ troubles }) => troubles.length > 0),
      isIncomplete,
    ),
  }
}

function nodesText(reports: readonly NodeReport[], page: Page): string {
  if (reports.length === 0) return 'No nodes.\n'
  const head = ['NODE', 'BLOCK', 'BROKER', 'REFUSED', 'REPAIRS', 'VERSION']
  const names = withoutCommonDomain(reports.map(({ node }) => node))
  const rows = reports.map((one, index) => [
    names[index] ?? one.node,
    blockText(one, page),
    page.paint(one.broker === 'ready' ? 'good' : 'bad', one.broker),
    number(one.refusedPackets),
    number(one.repairs),
    one.version ?? '-',
  ])
  const findings = reports.flatMap(({ node, troubles, warnings }) => [
    ...troubles.map((one) => ({ node, ...one, isTrouble: true })),
    ...warnings.map((one) => ({ node, ...one, isTrouble: false })),
  ])
  const lines = findings.map(({ node, code, detail, isTrouble }) => {
    const mark = isTrouble ? page.paint('bad', '✖') : page.paint('warning', '!')
    return `\n${mark} ${page.paint('bold', code)} on ${node}\n${indented(detail, 2, page)}\n`
  })
  return table(head, rows, page) + lines.join('')
}

function blockText({ mode, backend, verified }: NodeReport, { paint }: Page): string {
  if (verified === null) return paint('dim', 'not asked')
  if (!verified) return paint('bad', 'NO')
  if (mode === 'enforce') return paint('good', `yes (${backend})`)
  return paint('warning', mode === 'audit' ? 'audit only' : 'removed')
}

const number = (value: number | null) => (value === null ? '-' : String(value))

function versionsText(versions: Versions, skew: string | undefined, page: Page): string {
  const shown = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([release, count]) => `${count} of ${release}`)
      .join(', ') || 'none'
  const { injector, nodeGuard, sidecars } = versions
  const line = `injectors: ${shown(injector)}; node guards: ${shown(nodeGuard)}; sidecars: ${shown(sidecars)}`
  const warning =
    skew === undefined ? '' : `${page.paint('warning', '!')} ${indented(skew, 2, page).slice(2)}\n`
  return `\n${indented(line, 0, page)}\n${warning}`
}
