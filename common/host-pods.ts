/**
 * The file in which the broker reports to the firewall which pods of this node are on the host network, and which of them
 * may use the node's role: the firewall has no access to the Kubernetes API.
 */
import { join } from 'node:path'
import { messageOf } from './errors.ts'
import { readBoundedFile } from './read-bounded.ts'
import { replaceFile } from './replace-file.ts'
import { type Failed, failed } from './result.ts'

/** A pod on the host network. */
export type HostPod = {
  /** As in the name of its cgroup: a static pod's is the hash of its manifest, not the uid of its mirror. */
  readonly uid: string
  readonly namespace: string
  readonly name: string
  /** It may use the node's role. */
  readonly allowed: boolean
}

const FILE = 'host-pods.json'
const SHAPE = 1
/** Pods of a node, several times over. */
export const MAX_HOST_PODS = 1024
const MAX_BYTES = 1024 * 1024
const UID = /^[0-9a-f](?:[0-9a-f-]{0,62}[0-9a-f])?$/
const NAME = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/

/** Whether this can be the uid of a pod, as in the name of a cgroup. */
export const isPodUid = (text: string) => UID.test(text)

/** Replaces the list; a reader never sees half of it. Of more than {@link MAX_HOST_PODS}, those that are allowed come first. */
export async function writeHostPods(directory: string, pods: readonly HostPod[]): Promise<void> {
  const kept = pods.toSorted((a, b) => Number(b.allowed) - Number(a.allowed)).slice(0, MAX_HOST_PODS)
  await replaceFile(directory, FILE, { version: SHAPE, pods: kept }, 0o644)
}

/** The list as the broker last wrote it, or why there is none; never throws. */
export async function readHostPods(
  directory: string,
): Promise<{ readonly ok: true; readonly pods: readonly HostPod[] } | Failed> {
  try {
    return listOf(JSON.parse(await readBoundedFile(join(directory, FILE), MAX_BYTES)))
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
      ? failed('the broker has not reported which pods of this node are on the host network: look at its log')
      : failed(
          `the broker's list of pods on the host network cannot be read (${messageOf(error)}): look at the broker's log`,
        )
  }
}

/** The pods of a list. @throws if any entry is not valid: then none of them counts */
function listOf(value: unknown): { readonly ok: true; readonly pods: readonly HostPod[] } {
  const { version, pods } = (value ?? {}) as { version?: unknown; pods?: unknown }
  if (version !== SHAPE) throw new Error('it is of another release')
  if (!Array.isArray(pods) || pods.length > MAX_HOST_PODS) throw new Error('it is no list, or too long')
  if (!pods.every(isHostPod)) throw new Error('it has an entry that is no pod')
  return { ok: true, pods }
}

function isHostPod(value: unknown): value is HostPod {
  const { uid, namespace, name, allowed } = (value ?? {}) as Partial<Record<keyof HostPod, unknown>>
  return (
    typeof uid === 'string' &&
    isPodUid(uid) &&
    [namespace, name].every((text) => typeof text === 'string' && NAME.test(text)) &&
    typeof allowed === 'boolean'
  )
}
