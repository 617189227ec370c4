/** The chart in a cluster. */
import type { KubeObject } from '../../sandbox/kube/objects/objects.ts'

/** The release under test, or the previous one. */
export type Release = 'this' | 'previous'

/** The values of the chart that the test always sets; others may be among them. */
export type Values = {
  readonly commonLabels: Readonly<Record<string, string>>
  readonly image: Readonly<Record<string, unknown>>
  readonly policy: { readonly baseRoleArn: string }
  readonly broker: { readonly extraEnv: readonly { readonly name: string; readonly value: string }[] }
  readonly guard: { readonly mode: 'enforce' | 'audit' | 'remove'; readonly podAnnotations: Annotations }
  readonly injector: { readonly podAnnotations: Annotations; readonly replicas?: number }
  readonly tests: { readonly enabled: boolean }
}

type Annotations = Readonly<Record<string, string>>

export type Installation = {
  /** For the report: what installs the chart. */
  readonly by: string
  /** Why other values than the test's own cannot be set; undefined if they can. */
  readonly fixedValues?: string
  /** The chart that would be installed. */
  readonly render: (values: Values) => Promise<KubeObject[]>
  /** Installs the release with these values, or upgrades to them and, if it is another one, to this release. */
  readonly apply: (values: Values, release?: Release) => Promise<void>
  /** Back to what was installed before the last {@link apply}. */
  readonly rollback: () => Promise<void>
  readonly uninstall: () => Promise<void>
}
