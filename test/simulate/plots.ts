/** The curves of each scenario that docs/scale.md shows. */
import { svg } from '../support/plot.ts'
import { SCENARIOS } from './scenarios.ts'
import { POINT_SECONDS, type Summary } from './summary.ts'

const [GRANTED, REFUSED, VALID] = ['#1f6feb', '#cf222e', '#1a7f37']
const step = POINT_SECONDS / 60

/** Files and their contents: the STS calls of each scenario, and the share of valid credentials if something expires. */
export function plotsOf(summaries: readonly Summary[]): [file: string, content: string][] {
  return summaries.flatMap((one) => [
    [`${one.scenario}-sts.svg`, stsPlot(one)] as [string, string],
    [`${one.scenario}-valid.svg`, validPlot(one)] as [string, string],
  ])
}

function stsPlot({ scenario, title, fleet, curves }: Summary): string {
  const isNear = Math.max(...curves.granted) > fleet.stsPerSecond / 4
  return svg({
    title: `STS: ${title}`,
    unit: 'calls a second',
    step,
    curves: [
      { name: 'refused or unanswered', values: curves.refused, color: REFUSED },
      { name: 'granted', values: curves.granted, color: GRANTED },
    ],
    ...(isNear ? { level: { name: `quota ${fleet.stsPerSecond}`, value: fleet.stsPerSecond } } : {}),
    ...shadedOf(scenario),
  })
}

function validPlot({ scenario, title, curves }: Summary): string {
  return svg({
    title: `Pods with valid credentials: ${title}`,
    unit: '%',
    step,
    top: 100,
    curves: [{ name: 'valid', values: curves.valid.map((share) => share * 100), color: VALID }],
    ...shadedOf(scenario),
  })
}

function shadedOf(name: string) {
  const scenario = SCENARIOS.find((one) => one.name === name)
  const [sts, api] = [scenario?.stsAway?.[0], scenario?.apiAway?.[0]]
  const span = sts ?? api
  if (!span) return {}
  return {
    shaded: { name: sts ? 'STS away' : 'API server away', from: span.from / 60_000, to: span.to / 60_000 },
  }
}
