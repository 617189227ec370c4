/**
 * Recognises images of our containers as other releases and webhooks leave them: any tag of a configured repository, a digest that
 * a webhook which verifies signatures has appended or put in place of the tag, and a copy in a registry that the operator trusts. The
 * repository is the whole name including the registry: a path that only ends like ours proves nothing, since anybody can push
 * `evil.example.com/pod2iam/sidecar`. A digest, in contrast, identifies the content, wherever it is pulled from.
 */

/** Which images are ours. */
export type ImageTrust = {
  /** The one that this replica writes. */
  readonly image: string
  /** Those that other replicas write. */
  readonly others: readonly string[]
  /** Registries, with or without a path, that hold copies under our name: with its registry in front, or without. */
  readonly registries: readonly string[]
}

/** Whether `actual` is any release of the image. */
export function isTrusted({ image, others, registries }: ImageTrust, actual: string | undefined): boolean {
  if (actual === undefined) return false
  return [image, ...others].some(
    (ours) =>
      parts(actual).repository === parts(ours).repository ||
      sameDigest(actual, ours) ||
      isCopy(actual, ours, registries),
  )
}

/** Whether `actual` is the image that this replica writes, perhaps pinned or copied, so that it needs no repair. */
export function isPresent({ image, registries }: ImageTrust, actual: string | undefined): boolean {
  if (actual === undefined) return false
  if (sameDigest(actual, image)) return true
  const [ours, theirs] = [parts(image), parts(actual)]
  if (theirs.repository !== ours.repository && !isCopy(actual, image, registries)) return false
  if (ours.digest !== undefined) return theirs.digest === ours.digest
  return theirs.tag === ours.tag || (theirs.tag === undefined && theirs.digest !== undefined)
}

function sameDigest(a: string, b: string): boolean {
  const { digest } = parts(a)
  return digest !== undefined && digest === parts(b).digest && /^sha256:[0-9a-f]{64}$/.test(digest)
}

/** As image swappers and pull-through caches write them: `<registry>/ghcr.io/a/b` or `<registry>/a/b`. */
function isCopy(actual: string, ours: string, registries: readonly string[]): boolean {
  const [theirs, { repository }] = [parts(actual).repository, parts(ours)]
  const names = [repository, withoutRegistry(repository)]
  return registries.some((registry) => names.some((name) => theirs === `${registry}/${name}`))
}

function withoutRegistry(repository: string): string {
  const slash = repository.indexOf('/')
  const first = repository.slice(0, Math.max(slash, 0))
  // Container runtimes distinguish a registry from the first part of a path in this way.
  return /[.:]/.test(first) || first === 'localhost' ? repository.slice(slash + 1) : repository
}

function parts(reference: string) {
  const [named = '', digest] = reference.split('@')
  const colon = named.lastIndexOf(':')
  // A colon before the last slash belongs to a registry's port.
  const hasTag = colon > named.lastIndexOf('/')
  return {
    repository: hasTag ? named.slice(0, colon) : named,
    tag: hasTag ? named.slice(colon + 1) : undefined,
    digest,
  }
}
