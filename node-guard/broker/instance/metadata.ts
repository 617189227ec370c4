/**
 * Reads in advance what pods may know about the node: a fixed list and what the operator adds. No request from a pod ever reaches the real
 * metadata service.
 */
import type { MetadataBody } from '../../../common/protocol.ts'
import type { Imds } from './imds.ts'
import { anyText, type Format, formatOf, knownNames } from './leaves.ts'

/** Never served, even if allowed: the node's credentials and anything that proves the node's identity. */
const FORBIDDEN = /^\/*(?:iam|identity-credentials|user-data|dynamic|api)(?:\/|$)/
const PREFIX = /^[a-z0-9-]+(?:\/[a-z0-9-]+)*\/?$/

/** Notices that must not be late: a spot instance is gone two minutes after its notice. */
const CHANGING = /^(?:spot|events|autoscaling)(?:\/|$)/

/** What is read together, how often in seconds, and the maximum number of values and of bytes of JSON. */
export type Part = {
  /** Paths below `/latest/`; with a trailing slash, everything below them. */
  readonly roots: readonly string[]
  /** The format of a value that pods may see. */
  readonly formatOf: (path: string) => Format | undefined
  readonly seconds: number
  readonly entries: number
  readonly bytes: number
}

// Security groups, public addresses and interfaces may change; a sidecar asks as often.
const LISTED: Part = {
  roots: ['meta-data/', 'dynamic/fws/instance-monitoring', 'dynamic/instance-identity/document'],
  formatOf,
  seconds: 300,
  entries: 512,
  bytes: 128 * 1024,
}
/** People who change tags, for example, then check the result. */
const ALLOWED = { seconds: 60, entries: 256, bytes: 64 * 1024 }
const ALLOWED_CHANGING = { seconds: 15, entries: 64, bytes: 32 * 1024 }
// Together fewer than the 1000 values and 256 KiB that sidecars of every release accept.

const MAX_DEPTH = 8
/** Requests that are under way at once: an interface of the node has 1024 packets a second for the metadata service and DNS. */
const AT_ONCE = 4
/** A read ends after this many failures: the metadata service is unavailable, and each may have taken seconds. */
const MAX_FAILURES = 3
/** No usual instance type has more; a p5.48xlarge has 64, all in one VPC. */
const MAX_INTERFACES = 16
const INTERFACES = 'meta-data/network/interfaces/macs/'

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
 * How long a snapshot is valid, in seconds, if something in it changes often; undefined if it hardly ever changes. Sidecars ask again
 * at this interval.
 *
 * @param allowed as of {@link partsOf}
 */
export function refreshSeconds(allowed: readonly string[]): number | undefined {
  return allowed.some((prefix) => CHANGING.test(prefix)) ? ALLOWED_CHANGING.seconds : undefined
}

/**
 * What is to be read, in parts that change at different rates.
 *
 * @param allowed further paths below `meta-data/`; with a trailing slash, everything below them
 */
export function partsOf(allowed: readonly string[]): readonly Part[] {
  const part = (prefixes: readonly string[], bounds: typeof ALLOWED): Part => ({
    roots: prefixes.map((prefix) => `meta-data/${prefix}`),
    formatOf: (path) => formatOf(path) ?? anyText,
    ...bounds,
  })
  const { changing = [], rest = [] } = Object.groupBy(allowed, (prefix) =>
    CHANGING.test(prefix) ? 'changing' : 'rest',
  )
  return [LISTED, part(rest, ALLOWED), part(changing, ALLOWED_CHANGING)].filter(
    ({ roots }) => roots.length > 0,
  )
}

export type ReadResult = {
  /** Path below `meta-data/` (or `dynamic/…`) → text. */
  readonly values: MetadataBody
  /** What exists but is not served: values in another format than EC2 documents, or beyond the limits. */
  readonly leftOut: readonly string[]
  /** The first failure, as thrown: there may be more than `values`. */
  readonly failure?: unknown
}

/** Reads a part, level by level: a directory's listing shows what else can be requested. Never rejects. */
export async function readPart(imds: Imds, part: Part): Promise<ReadResult> {
  const values: Record<string, string> = {}
  const leftOut: string[] = []
  const failures: unknown[] = []
  const taken = { entries: 0, bytes: 0 }

  const take = (path: string, text: string): void => {
    // EC2 ends nothing with a newline, and botocore would take one for a part of the zone's name.
    const value = part.formatOf(path)?.(text.replace(/\r?\n$/, ''))
    const bytes = Buffer.byteLength(JSON.stringify([path, value]))
    if (value === undefined || taken.entries === part.entries || taken.bytes + bytes > part.bytes) {
      leftOut.push(path)
      return
    }
    taken.entries++
    taken.bytes += bytes
    values[keyOf(path)] = value
  }
  /** What is to be read next. */
  const visit = async (path: string): Promise<readonly string[]> => {
    if (FORBIDDEN.test(keyOf(path)) && !isDynamicLeaf(path)) return []
    const text = await imds.get(path)
    if (path.endsWith('/')) return below(path, text, part, values.mac)
    if (text !== undefined) take(path, text)
    return []
  }

  let level: readonly string[] = part.roots
  let asked = 0
  for (let depth = 0; depth < MAX_DEPTH && level.length > 0; depth++) {
    const next: string[] = []
    const waiting = level.slice(0, 2 * part.entries - asked)
    leftOut.push(...level.slice(waiting.length))
    asked += waiting.length
    const work = async () => {
      for (let path = waiting.shift(); path !== undefined; path = waiting.shift()) {
        if (failures.length >= MAX_FAILURES) return
        await visit(path).then(
          (found) => next.push(...found),
          (error: unknown) => failures.push(error),
        )
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, work))
    level = next
  }
  return { values, leftOut, ...(failures.length > 0 ? { failure: failures[0] } : {}) }
}

const isDynamicLeaf = (path: string) => path.startsWith('dynamic/') && formatOf(path) !== undefined

const keyOf = (path: string) => path.replace(/^meta-data\//, '')

/** What of a directory is to be read, as whole paths. */
function below(
  directory: string,
  listing: string | undefined,
  part: Part,
  primary: string | undefined,
): readonly string[] {
  const names =
    listing === undefined ? knownNames(directory).filter((name) => !name.startsWith('*')) : lines(listing)
  const first = (name: string) => (name === `${primary}/` ? 0 : 1)
  return names
    .toSorted((a, b) => (directory === INTERFACES ? first(a) - first(b) : 0))
    .slice(0, directory === INTERFACES ? MAX_INTERFACES : names.length)
    .map((name) => directory + name)
    .filter((path) => (path.endsWith('/') ? mayHold(path, part) : part.formatOf(path) !== undefined))
}

const mayHold = (directory: string, part: Part) =>
  part.formatOf !== formatOf || knownNames(directory).length > 0

/** A directory's entries: one per line, sub-directories with a slash. */
function lines(listing: string): string[] {
  return listing.split('\n').filter((entry) => /^(?!\.{1,2}\/?$)[\w.,:=@+-]+\/?$/.test(entry))
}
