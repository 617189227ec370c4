/** The plots at the head of docs/benchmarks.md, drawn from the tables of that page, so that new figures in them are drawn, too. */
import { readPage, rowsUnder } from '../docs/markdown.ts'
import { type Bar, barsSvg } from '../support/bars.ts'

const PAGE = 'docs/benchmarks.md'

/** SVG files by name. Throws if a figure is missing on the page. */
export function summaryPlots(): Readonly<Record<string, string>> {
  return {
    'summary-start.svg': barsSvg({
      title: 'From the creation of a pod to its first instruction',
      caption:
        'median of 20, and a line to the 95th percentile; the stroke is the median of when the app had its credentials',
      unit: 'ms',
      bars: starts(),
    }),
    'summary-fetch.svg': barsSvg({
      title: 'A whole fetch of credentials: token, list and document on a connection of its own',
      caption: 'median, and a line to the 99th percentile',
      unit: 'µs',
      bars: fetches(),
    }),
    'summary-memory.svg': barsSvg({
      title: 'Memory of each process under load',
      caption: 'private memory; the stroke is the target',
      unit: 'MiB',
      bars: memory(),
    }),
    'summary-gap.svg': barsSvg({
      title: 'How long the metadata service is open after its rules are flushed',
      caption:
        'the longest of all gaps, with a connection attempt every millisecond; the stroke is the target',
      unit: 'ms',
      bars: gaps(),
    }),
  }
}

const numberOf = (text: string) => Number(text.replaceAll(',', '').split(' ')[0])

/** Rows of the table: Kubernetes, pod, first instruction (median, 95th percentile), credentials, wait. */
function starts(): Bar[] {
  const rows = rowsUnder(readPage(PAGE), 'The start of a pod').filter(([release = '']) => /^\d/.test(release))
  const releases = new Set(rows.map(([release]) => release))
  return rows.map(([release = '', pod = '', first = '', late = '', credentials = '']) => ({
    name: `${pod.replaceAll('`', '')}${releases.size > 1 ? ` (${release})` : ''}`,
    value: numberOf(first),
    upTo: numberOf(late),
    ...(credentials === '' ? {} : { target: numberOf(credentials) }),
    ours: pod.startsWith('pod2iam'),
  }))
}

function fetches(): Bar[] {
  const rows = rowsUnder(readPage(PAGE), 'Side by side with kube2iam')
  const pair = (quantile: string) => {
    const [, , , note = ''] = row(rows, `${quantile} of the sidecar ÷ kube2iam's, a whole fetch`)
    const [, ours, theirs] = /^(\d+) and (\d+) µs/.exec(note) ?? []
    return [Number(ours), Number(theirs)] as const
  }
  const [[ours, theirs], [oursLate, theirsLate]] = [pair('p50'), pair('p99')]
  return [
    { name: 'the sidecar', value: ours, upTo: oursLate, ours: true },
    { name: 'kube2iam', value: theirs, upTo: theirsLate, ours: false },
  ]
}

function memory(): Bar[] {
  const page = readPage(PAGE)
  const from = (title: string, figure: string, name: string): Bar => {
    const [, value = '', target = ''] = row(rowsUnder(page, title), figure)
    return {
      name,
      value: numberOf(value),
      target: numberOf(target.replace('≤ ', '').replace(':', '')),
      ours: true,
    }
  }
  return [
    from('Sidecar', 'private memory after 5000 requests', 'sidecar, one a pod'),
    from('Firewall', 'private memory, after 300 flushes', 'firewall, one a node'),
    from('Broker', 'private memory, peak', 'broker of 110 pods, one a node'),
    from('Injector', 'private memory after 100000 more reviews', 'injector after 150,000 reviews'),
  ]
}

/** For each backend the longest gap of any disturbance and topology; for the owned table, whether anything got through. */
function gaps(): Bar[] {
  const rows = rowsUnder(readPage(PAGE), 'Firewall')
  const worst = (backend: string) =>
    rows.filter(([name = '']) => new RegExp(`^(?:routed|bridge), ${backend}: .*, gap, worst$`).test(name))
  const bars = ['nft', 'iptables', 'iptables-legacy'].map((backend) => ({
    name: backend === 'nft' ? 'nft, the default' : backend,
    value: Math.max(...worst(backend).map(([, value = '']) => numberOf(value))),
    target: 250,
    ours: true,
  }))
  const owned = rows.filter(([name = '']) => /, owned table: .*, through$/.test(name))
  const through = owned.map(([, value = '']) => numberOf(value))
  if (owned.length === 0 || through.some((count) => count !== 0))
    throw new Error(`${PAGE}: something got through with the owned table, which no bar says`)
  return [...bars, { name: 'nft with guard.ownedTable', value: 0, ours: true }]
}

function row(rows: readonly string[][], name: string): string[] {
  const found = rows.find(([first]) => first === name)
  if (found === undefined) throw new Error(`${PAGE} has no row "${name}"`)
  return found
}
