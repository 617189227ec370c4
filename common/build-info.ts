/** The metric with the version of a program: one name for all programs, so that one query shows a whole installation. */
import { prometheusText } from './prometheus-text.ts'
import { VERSION } from './version.ts'

/** Programs with metrics. */
export type Component = 'firewall' | 'broker' | 'injector' | 'sidecar'

export const BUILD_INFO = {
  name: 'pod2iam_build_info',
  help: 'Version of this build, by component; always 1.',
} as const

export const buildLabels = (component: Component) => ({ component, version: VERSION })

/** Its exposition text, for the programs that write theirs by hand. */
export function buildInfoText(component: Component): string {
  const labels = Object.entries(buildLabels(component)).map(([label, value]) => `${label}="${value}"`)
  return prometheusText('', [{ ...BUILD_INFO, type: 'gauge', samples: [[`{${labels.join(',')}}`, 1]] }])
}
