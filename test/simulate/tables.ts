/** The figures of a simulation as the tables of docs/scale.md. */
import type { Fleet } from './fleet-size.ts'
import type { Summary } from './summary.ts'

const whole = (value: number) => Math.round(value).toLocaleString('en-US')
const seconds = (value: number) => (value < 10 ? `${value.toFixed(1)} s` : `${whole(value)} s`)
const percent = (share: number) => (share === 1 ? '100 %' : `${(Math.floor(share * 1000) / 10).toFixed(1)} %`)

/** The parameters with which the tables were made, in words. */
export function parameters(fleet: Fleet): string {
  const { nodes, podsPerNode, namespaces, stsPerSecond, stsQps, sessionSeconds, tokenSeconds, seed, share } =
    fleet
  return `${whole(nodes)} nodes × ${podsPerNode} pods, ${namespaces} namespaces opted in, STS quota ${stsPerSecond}/s, broker.stsQps ${stsQps}, broker.sessionDuration ${sessionSeconds}, sidecar.tokenExpirationSeconds ${tokenSeconds}, seed ${seed}${share === 1 ? '' : `, one node in ${share} simulated`}`
}

export function podTable(summaries: readonly Summary[]): string {
  return table(
    [
      'scenario',
      'least share of pods with valid credentials',
      'expired',
      '… that could have been renewed',
      'first credentials: median, 99 %, last',
    ],
    summaries.map(({ title, figures: f }) => [
      title,
      percent(f.leastValid),
      whole(f.expired),
      whole(f.neglected),
      f.waitMost === 0 ? '' : [f.waitMedian, f.wait99, f.waitMost].map(seconds).join(', '),
    ]),
  )
}

export function stsTable(summaries: readonly Summary[]): string {
  return table(
    [
      'scenario',
      'calls granted',
      'refused or unanswered',
      'most granted a second',
      'most calls a second',
      '… of one node',
      'busiest minute ÷ mean, from minute 20 on',
    ],
    summaries.map(({ title, figures: f }) => [
      title,
      whole(f.granted),
      whole(f.refused),
      whole(f.grantedMost),
      whole(f.callsMost),
      whole(f.callsOfOneNode),
      f.herd.toFixed(1),
    ]),
  )
}

export function apiTable(summaries: readonly Summary[]): string {
  return table(
    ['scenario', 'lists and reads', 'most a second', 'most watches opened a second', 'sent', 'most a second'],
    summaries.map(({ title, figures: f }) => [
      title,
      whole(f.lists),
      whole(f.listsMost),
      whole(f.watchesMost),
      `${whole(f.megabytes)} MB`,
      `${f.megabytesMost.toFixed(1)} MB`,
    ]),
  )
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}
