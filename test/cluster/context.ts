/** What every promise is given. */
import type { ClusterAccess } from './access/access.ts'
import type { AwsSide } from './aws/aws-side.ts'
import type { Values } from './install/installation.ts'
import type { Options } from './options.ts'
import type { Programs } from './programs/bundle.ts'

/** A label on every object that the test makes; its value is the run's id. */
export const LABEL = 'pod2iam.dev/cluster-test'

/** Name of the copies of `--pull-secret`. */
export const PULL_SECRET = 'pod2iam-test-pull'

/** A run: its id, and where things are. */
export type Run = {
  readonly id: string
  readonly programs: Programs
  /** Image and Node of the test's own pods. */
  readonly image: string
  readonly node: string
}

export type Context = {
  readonly options: Options
  readonly access: ClusterAccess
  readonly aws: AwsSide
  readonly run: Run
  /** Ends every wait when the test is interrupted. */
  readonly signal: AbortSignal
  readonly progress: (line: string) => void
}

/** Namespaces of a run by what they are for. */
export type Place = 'aws' | 'shop' | 'billing' | 'strict' | 'every' | 'federated' | 'plain'

export const NAMESPACE_PREFIX = 'pod2iam-test-'

export function namespaceOf({ id }: Pick<Run, 'id'>, place: Place): string {
  return `${NAMESPACE_PREFIX}${id}-${place}`
}

/** What the test sets of the chart's values. */
export function valuesOf(
  { options, aws, run }: Pick<Context, 'options' | 'aws'> & { readonly run: Pick<Run, 'id'> },
  changes: {
    readonly mode?: 'enforce' | 'remove'
    readonly revision?: string
    /** Further values, which take precedence. */
    readonly more?: ChartValues
    /** The values are for the previous release. */
    readonly previous?: boolean
  } = {},
): Values {
  const { mode = 'enforce', revision = '1', more = {}, previous = false } = changes
  const given = previous ? options.previousTag : options.imageTag
  const tag = given === undefined ? {} : { tag: given }
  const podAnnotations = { [LABEL]: revision }
  const values: Values = {
    commonLabels: { [LABEL]: run.id },
    image: {
      ...(options.imageRegistry === undefined ? {} : { registry: options.imageRegistry }),
      sidecar: { ...(options.dry ? { repository: 'sidecar' } : {}), ...tag },
      injector: { ...(options.dry ? { repository: 'injector' } : {}), ...tag },
      ...(options.pullSecret === undefined ? {} : { pullSecrets: [PULL_SECRET] }),
      nodeGuard: { ...(options.dry ? { repository: 'node-guard' } : {}), ...tag },
    },
    policy: { baseRoleArn: aws.baseRoleArn },
    broker: { extraEnv: aws.brokerEnvironment },
    guard: { mode, podAnnotations },
    injector: { podAnnotations, ...(options.dry ? { replicas: 1 } : {}) },
    tests: { enabled: false },
  }
  return merged(values as unknown as ChartValues, more) as unknown as Values
}

/** Values of the chart as a file has them. */
export type ChartValues = { readonly [name: string]: unknown; readonly injector?: object }

/** Merges as helm merges the values of a later file into those of an earlier one. */
function merged(values: ChartValues, more: ChartValues): ChartValues {
  const both = Object.entries(more).map(([name, value]) => {
    const here = values[name]
    return [name, isMap(here) && isMap(value) ? merged(here, value) : value]
  })
  return { ...values, ...Object.fromEntries(both) }
}

function isMap(value: unknown): value is ChartValues {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
