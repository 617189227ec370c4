/**
 * What pods may know of the node: a fixed list, read ahead of time. No request of a pod ever reaches the real
 * metadata service.
 */
import type { MetadataBody } from '../../../common/protocol.ts'
import type { Imds } from './imds.ts'

const LEAVES = [
  'instance-id',
  'instance-type',
  'ami-id',
  'instance-life-cycle',
  'local-hostname',
  'local-ipv4',
  'mac',
]
const DIRECTORIES = ['placement/', 'services/']
const INTERFACES = 'network/interfaces/macs/'
const INTERFACE_LEAVES = ['vpc-id', 'subnet-id']
const DOCUMENT = 'dynamic/instance-identity/document'

/** Never served, whatever is allowed: the node's credentials and what proves that one is the node. */
const FORBIDDEN = /^\/*(?:iam|identity-credentials|user-data|dynamic|api)(?:\/|$)/
const PREFIX = /^[a-z0-9-]+(?:\/[a-z0-9-]+)*\/?$/

/** News that must not be late: a spot instance is gone two minutes after its notice. */
const NEWS = /^(?:spot|events)(?:\/|$)/
const NEWS_SECONDS = 15

const MAX_ENTRIES = 256
const MAX_DEPTH = 6
const MAX_VALUE = 16 * 1024

/**
 * Why a prefix of `--metadata-allow` cannot be allowed, or undefined.
 *
 * @param prefix a path below `meta-data/`, such as `tags/instance/`
 */
export function whyNotAllowable(prefix: string): string | undefined {
  if (FORBIDDEN.test(prefix)) return 'would serve credentials or proofs of the node, which never are'
  return PREFIX.test(prefix) ? undefined : 'is not a path below meta-data/, such as tags/instance/'
}

/**
 * How long a snapshot is good, seconds, where something in it is news; undefined where all of it hardly ever changes. The broker
 * reads it again, and sidecars ask again, that often.
 *
 * @param allowed as of {@link readSnapshot}
 */
export function newsSeconds(allowed: readonly string[]): number | undefined {
  return allowed.some((prefix) => NEWS.test(prefix)) ? NEWS_SECONDS : undefined
}

/**
 * Reads the snapshot.
 *
 * @param allowed further paths below `meta-data/`; with a slash at the end, all that lies below
 * @returns path below `meta-data/` (or `dynamic/…`) → text
 * @throws where the metadata service gives no answer
 */
export async function readSnapshot(imds: Imds, allowed: readonly string[]): Promise<MetadataBody> {
  const snapshot: Record<string, string> = {}
  const leaf = async (path: string) => {
    const value = await imds.get(`meta-data/${path}`)
    if (value !== undefined && value.length <= MAX_VALUE && Object.keys(snapshot).length < MAX_ENTRIES)
      snapshot[path] = value
  }
  const walk = async (path: string, depth = 0): Promise<void> => {
    if (depth > MAX_DEPTH || FORBIDDEN.test(path)) return
    if (!path.endsWith('/')) return leaf(path)
    for (const entry of lines(await imds.get(`meta-data/${path}`))) await walk(path + entry, depth + 1)
  }

  for (const path of LEAVES) await leaf(path)
  for (const path of DIRECTORIES) await walk(path)
  for (const mac of lines(await imds.get(`meta-data/${INTERFACES}`)))
    for (const name of INTERFACE_LEAVES) await leaf(INTERFACES + mac + name)
  for (const prefix of allowed) await walk(prefix)
  const document = await imds.get(DOCUMENT)
  if (document !== undefined) snapshot[DOCUMENT] = document
  return snapshot
}

/** A directory's entries: one per line, sub-directories with a slash. */
function lines(listing: string | undefined): string[] {
  const entries = listing?.split('\n') ?? []
  return entries.filter((entry) => /^(?!\.{1,2}\/?$)[\w.:=@+-]+\/?$/.test(entry)).slice(0, MAX_ENTRIES)
}
