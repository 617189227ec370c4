/** What the injector added to a pod, short enough for a screen. */
import { stringify } from 'yaml'

type Named = { readonly name: string }
type PodLike = {
  readonly metadata: {
    readonly annotations?: Readonly<Record<string, string>>
    readonly labels?: Readonly<Record<string, string>>
  }
  readonly spec: { readonly initContainers?: readonly Named[]; readonly volumes?: readonly Named[] }
}

/**
 * The additions of `after` over `before` as YAML lines that begin with `+`; of a container, only what a reader
 * asks about first.
 */
export function additions(before: PodLike, after: PodLike): string {
  const fresh = <T extends Named>(old: readonly T[] = [], now: readonly T[] = []) =>
    now.filter(({ name }) => !old.some((entry) => entry.name === name))
  const added = {
    metadata: {
      annotations: freshKeys(before.metadata.annotations, after.metadata.annotations),
      labels: freshKeys(before.metadata.labels, after.metadata.labels),
    },
    spec: {
      initContainers: fresh(before.spec.initContainers, after.spec.initContainers).map(brief),
      volumes: fresh(before.spec.volumes, after.spec.volumes),
    },
  }
  return stringify(added, { lineWidth: 0, collectionStyle: 'any' })
    .trimEnd()
    .split('\n')
    .map((line) => `+ ${line}`)
    .join('\n')
}

const SHOWN = ['name', 'image', 'restartPolicy', 'args', 'securityContext', 'resources', 'volumeMounts']

function brief(container: Named): Record<string, unknown> {
  return Object.fromEntries(Object.entries(container).filter(([key]) => SHOWN.includes(key)))
}

function freshKeys(
  before: Readonly<Record<string, string>> = {},
  after: Readonly<Record<string, string>> = {},
) {
  return Object.fromEntries(Object.entries(after).filter(([key]) => !(key in before)))
}
