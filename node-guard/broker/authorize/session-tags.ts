/** Session tags: those of EKS Pod Identity, and those of the operator. */
import { type Setting, SettingError } from '../../../common/settings.ts'
import type { PodRecord } from '../kubernetes/pod.ts'

export type SessionTag = { readonly Key: string; readonly Value: string }

export type TagSettings = {
  /** `--session-tags`: whether pods' sessions get the six tags. */
  readonly sessionTags: boolean
  readonly clusterName: string | undefined
  readonly clusterArn: string | undefined
  /** `--extra-session-tags`: the same for all sessions. */
  readonly extraSessionTags: readonly SessionTag[]
}

/** The names that EKS Pod Identity uses, so that existing policies still apply. */
const OF_POD_IDENTITY = [
  ...['eks-cluster-arn', 'eks-cluster-name', 'kubernetes-namespace', 'kubernetes-service-account'],
  ...['kubernetes-pod-name', 'kubernetes-pod-uid'],
]
/** AWS's limit for one session. */
const MAX_TAGS = 50
// STS API reference, "Tag".
const KEY = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]{1,128}$/u
const VALUE = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,256}$/u
const EKS_CLUSTER =
  /^arn:aws(?:-[a-z]+)*:eks:[a-z0-9-]+:\d{12}:cluster\/(?<name>[0-9A-Za-z][A-Za-z0-9_-]{0,99})$/

/** The name in the ARN of an EKS cluster, or undefined if the text is not such an ARN. */
export const clusterNameOf = (arn: string): string | undefined => EKS_CLUSTER.exec(arn)?.groups?.name

/** The setting `--cluster-arn`. */
export const clusterArn: Setting<string | undefined> = {
  parse: (value) => {
    if (value === '') return undefined
    if (clusterNameOf(value) === undefined)
      wrong('must be the ARN of an EKS cluster, such as arn:aws:eks:eu-west-1:111111111111:cluster/prod')
    return value
  },
  fallback: () => undefined,
  shownDefault: 'none',
  help: 'value of the session tag eks-cluster-arn',
}

/** The setting `--extra-session-tags`: `key=value`, separated by commas, which AWS allows in neither. */
export const extraSessionTags: Setting<readonly SessionTag[]> = {
  repeatable: true,
  fallback: () => [],
  shownDefault: 'none',
  help: 'further session tags, the same for every pod: key=value, separated by commas',
  parse: (value) => {
    const entries = value.split(',').map((entry) => entry.trim())
    const tags = entries.filter((entry) => entry !== '').map(readTag)
    const keys = tags.map(({ Key }) => Key.toLowerCase())
    // AWS compares keys without regard to case.
    const twice = tags.find((_, index) => keys.indexOf(keys[index] ?? '') < index)
    if (twice)
      wrong(`has the key ${JSON.stringify(twice.Key)} twice; AWS does not distinguish upper and lower case`)
    const most = MAX_TAGS - OF_POD_IDENTITY.length
    if (tags.length > most)
      wrong(
        `has ${tags.length} tags: AWS allows ${MAX_TAGS}, of which --session-tags needs ${MAX_TAGS - most}`,
      )
    return tags
  },
}

function readTag(text: string): SessionTag {
  const at = text.indexOf('=')
  const [Key, Value] = [text.slice(0, Math.max(at, 0)), text.slice(at + 1)]
  const shown = JSON.stringify(text)
  if (!KEY.test(Key) || !VALUE.test(Value))
    wrong(
      `has ${shown}, which must be key=value, of 1 to 128 and at most 256 letters, digits, spaces and any of _.:/=+-@ (a key has no =)`,
    )
  if (/^aws:/i.test(Key)) wrong(`has ${shown}: AWS reserves keys that begin with aws:`)
  if (OF_POD_IDENTITY.includes(Key.toLowerCase()))
    wrong(`has ${shown}: that key is one of --session-tags, which sets it for each pod`)
  return { Key, Value }
}

/** All tags of a pod's session. */
export function tagsOf(pod: PodRecord, settings: TagSettings): readonly SessionTag[] {
  const { sessionTags, clusterName, clusterArn, extraSessionTags } = settings
  if (!sessionTags) return extraSessionTags
  const values = [
    ...[clusterArn, clusterName ?? (clusterArn && clusterNameOf(clusterArn))],
    ...[pod.namespace, pod.serviceAccount, pod.name, pod.uid],
  ]
  const own = OF_POD_IDENTITY.map((Key, index) => ({ Key, Value: values[index] ?? '' }))
  return [...own.filter(({ Value }) => Value !== ''), ...extraSessionTags]
}

function wrong(message: string): never {
  throw new SettingError(message)
}
