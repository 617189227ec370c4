/** The chart in a cluster. */
import type { KubeObject } from '../../sandbox/kube/objects.ts'

/** Values of the chart, as far as the test sets them. */
export type Values = {
  readonly commonLabels: Readonly<Record<string, string>>
  readonly image: Readonly<Record<string, unknown>>
  readonly policy: { readonly baseRoleArn: string }
  readonly broker: { readonly extraEnv: readonly { readonly name: string; readonly value: string }[] }
  readonly guard: { readonly mode: 'enforce' | 'remove'; readonly podAnnotations: Annotations }
  readonly injector: { readonly podAnnotations: Annotations; readonly replicas?: number }
  readonly tests: { readonly enabled: boolean }
}

type Annotations = Readonly<Record<string, string>>

export type Installation = {
  /** For the report: who installs. */
  readonly by: string
  /** What would be installed. */
  readonly render: (values: Values) => Promise<KubeObject[]>
  /** Installs, or upgrades to these values. */
  readonly apply: (values: Values) => Promise<void>
  readonly uninstall: () => Promise<void>
}
