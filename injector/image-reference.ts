/**
 * Images of our containers as other releases and other webhooks leave them: any tag of the configured repository,
 * and a digest appended or swapped in by those that verify signatures. The repository is the whole name with its
 * registry: who uses a mirror names it in `--sidecar-image` and `--node-guard-image`. A path that only ends like
 * ours proves nothing, anybody can push `evil.example.com/pod2iam/sidecar`.
 */

/** Whether `actual` is the image `wanted`, perhaps pinned. */
export function sameImage(wanted: string, actual: string | undefined): boolean {
  if (!sameRepository(wanted, actual)) return false
  const [ours, theirs] = [parts(wanted), parts(actual)]
  if (ours.digest !== undefined) return theirs.digest === ours.digest
  return theirs.tag === ours.tag || (theirs.tag === undefined && theirs.digest !== undefined)
}

/** Whether `actual` is any release of the image `wanted`, from the very same repository. */
export function sameRepository(wanted: string, actual: string | undefined): actual is string {
  return actual !== undefined && parts(actual).repository === parts(wanted).repository
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
