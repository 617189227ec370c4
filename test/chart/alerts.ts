/** The chart's alerts as a rule file of Prometheus: as the file in the chart, and as helm renders it. */
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { CHART } from './helm.ts'

export type Rule = {
  readonly alert: string
  readonly expr: string
  readonly for?: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

export type RuleFile = {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[]
}

/** The file in the chart, before helm inserts the names of a release. */
export const RULE_FILE: RuleFile = parse(readFileSync(`${CHART}/files/prometheus/alerts.yaml`, 'utf8'))

export const rulesOf = ({ groups }: RuleFile): Rule[] => groups.flatMap(({ rules }) => rules)
