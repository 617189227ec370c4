/**
 * Images of our containers as other webhooks leave them: those that rewrite registries put another host and
 * prefix in front, those that verify signatures append or swap in a digest. Neither makes an image foreign.
 */

/** Whether `actual` is the image `wanted`, mirrored or pinned. */
export function sameImage(wanted: string, actual: string | undefined): boolean {
  if (!sameRepository(wanted, actual)) return false
  const [ours, theirs] = [parts(wanted), parts(actual)]
  if (ours.digest !== undefined) return theirs.digest === ours.digest
  return theirs.tag === ours.tag || (theirs.tag === undefined && theirs.digest !== undefined)
}

/** Whether `actual` is any release of the image `wanted`, mirrored or not. */
export function sameRepository(wanted: string, actual: string | undefined): actual is string {
  if (actual === undefined) return false
  const [ours, theirs] = [parts(wanted), parts(actual)]
  return theirs.path === ours.path || theirs.full.endsWith(`/${ours.path}`)
}

function parts(reference: string) {
  const [named = '', digest] = reference.split('@')
  const colon = named.lastIndexOf(':')
  // A colon before the last slash belongs to a registry's port.
  const hasTag = colon > named.lastIndexOf('/')
  const full = hasTag ? named.slice(0, colon) : named
  const [host = '', ...rest] = full.split('/')
  const isHost = rest.length > 0 && (/[.:]/.test(host) || host === 'localhost')
  return {
    full,
    path: isHost ? rest.join('/') : full,
    tag: hasTag ? named.slice(colon + 1) : undefined,
    digest,
  }
}
