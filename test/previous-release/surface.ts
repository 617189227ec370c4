/** What operators see of a release: the command lines that its chart renders, and its metrics. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { helm, objectsOf } from '../chart/helm.ts'

/** The command line of one container, as the chart renders it with one set of values. */
export type CommandLine = {
  readonly set: string
  readonly container: string
  readonly command: readonly string[]
  readonly args: readonly string[]
  readonly env: readonly { readonly name: string; readonly value?: string }[]
}

type Containers = readonly {
  readonly name: string
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly env?: CommandLine['env']
}[]
type PodSpec = { readonly containers: Containers; readonly initContainers?: Containers }

/** Sets that need more of a cluster than Kubernetes itself. */
const NEEDS_MORE = /^cilium/

export function commandLines(checkout: string): CommandLine[] {
  const sets = join(checkout, 'test/chart/sets')
  const names = readdirSync(sets).map((file) => file.replace('.yaml', ''))
  const lines = names
    .filter((set) => !NEEDS_MORE.test(set))
    .flatMap((set) => {
      const flags = [
        '--values',
        join(sets, `${set}.yaml`),
        '--kube-version=1.34.0',
        '--namespace=pod2iam-system',
      ]
      const objects = objectsOf(helm('template', 'pod2iam', join(checkout, 'charts/pod2iam'), ...flags))
      return objects
        .filter(({ kind }) => kind === 'Deployment' || kind === 'DaemonSet')
        .flatMap(({ spec }) => {
          const { containers, initContainers = [] } = (spec as { template: { spec: PodSpec } }).template.spec
          return [...initContainers, ...containers]
        })
        .map(({ name, command = [], args = [], env = [] }) => ({ set, container: name, command, args, env }))
    })
  const seen = new Set<string>()
  return lines.filter(({ set, ...line }) => {
    const text = JSON.stringify(line)
    return !seen.has(text) && seen.add(text) !== undefined
  })
}

/** The names of all metrics, from the page that the release's own tests compare with its programs. */
export function metricNames(checkout: string): string[] {
  const text = readFileSync(join(checkout, 'docs/metrics.md'), 'utf8')
  return [...text.matchAll(/^\| `(pod2iam_\w+)` \|/gm)].map(([, name = '']) => name)
}
