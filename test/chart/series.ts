/** The series that queries select, and whether a program exports them. */
import { codeSpans, page, rowsUnder } from '../docs/markdown.ts'

/** A metric in a query, with its label matchers. */
export type Selected = {
  readonly metric: string
  readonly matchers: readonly { readonly label: string; readonly operator: string; readonly value: string }[]
}

/** The possible values of each label; undefined where docs/metrics.md refers to another page for them. */
type Labels = ReadonlyMap<string, ReadonlySet<string> | undefined>

/** The labels that every series of a pod gets from the Prometheus operator and the relabelling of the chart's monitors. */
const OF_TARGETS = ['namespace', 'pod', 'node', 'instance', 'job', 'container', 'endpoint', 'service']

/** The metrics of kube-state-metrics 2.x that we use, with their own labels (docs/metrics of that project). */
const KUBE_STATE_METRICS: Readonly<Record<string, readonly string[]>> = {
  kube_daemonset_status_desired_number_scheduled: ['daemonset'],
  kube_daemonset_status_number_ready: ['daemonset'],
  kube_deployment_status_replicas_available: ['deployment'],
  kube_node_info: ['os_image', 'provider_id'],
  kube_node_status_condition: ['condition', 'status'],
  kube_pod_init_container_status_ready: ['container'],
  kube_pod_status_phase: ['phase'],
}

/** The metrics that prom-client exports for the injector's process. */
const OF_PROCESSES: readonly string[] = [
  'pod2iam_process_cpu_seconds_total',
  'pod2iam_process_resident_memory_bytes',
]

/** The metrics of docs/metrics.md, which test/docs/metrics.test.ts compares with the output of the programs. */
function documented(): Map<string, Labels> {
  const metrics = new Map<string, Labels>()
  for (const program of ['Firewall', 'Broker', 'Injector', 'Sidecar'])
    for (const [name = '', type = '', cell = ''] of rowsUnder(page('docs/metrics.md'), program).slice(1)) {
      const [metric = ''] = codeSpans(name)
      // Every program has pod2iam_build_info, with its own value of the label.
      const known = new Map(metrics.get(metric))
      for (const [label, values] of labelsIn(cell))
        known.set(label, values && new Set([...(known.get(label) ?? []), ...values]))
      metrics.set(metric, known)
      if (type === 'histogram') {
        metrics.set(`${metric}_bucket`, new Map([...known, ['le', undefined]]))
        for (const suffix of ['_sum', '_count']) metrics.set(metric + suffix, known)
      }
    }
  return metrics
}

/** A cell such as "`rule`: `a`, `b`; `cause`". */
function labelsIn(cell: string): [label: string, values: string[] | undefined][] {
  return cell.split(';').flatMap((part) => {
    const [names = '', values] = part.split(':')
    const listed = values === undefined || values.includes('](') ? undefined : codeSpans(values)
    return codeSpans(names).map((label): [string, string[] | undefined] => [label, listed])
  })
}

const METRICS = documented()

/** The metrics in a query. Names of functions, keywords and labels never have this form. */
export function selectedBy(query: string): Selected[] {
  return [...query.matchAll(/\b((?:pod2iam|kube)_\w+)(?:\{([^}]*)\})?/g)].map(
    ([, metric = '', list = '']) => ({
      metric,
      matchers: [...list.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)].map(
        ([, label = '', operator = '', value = '']) => ({ label, operator, value }),
      ),
    }),
  )
}

/** Sentences about what no program exports. */
export function unknownIn({ metric, matchers }: Selected): string[] {
  const others = KUBE_STATE_METRICS[metric]
  const labels: Labels | undefined = others
    ? new Map(others.map((label) => [label, undefined]))
    : OF_PROCESSES.includes(metric)
      ? new Map()
      : METRICS.get(metric)
  if (labels === undefined) return [`no program exports ${metric}`]
  return matchers.flatMap(({ label, operator, value }) => {
    if (OF_TARGETS.includes(label)) return []
    if (!labels.has(label)) return [`${metric} has no label ${label}`]
    const values = labels.get(label)
    if (values === undefined) return []
    const named = operator.includes('~') ? value.split('|') : [value]
    return named
      .filter((one) => /^[\w-]+$/.test(one) && !values.has(one))
      .map((one) => `${metric} has no ${label}="${one}"`)
  })
}
