/**
 * IAM's wildcards: `*` matches any number of characters, `?` exactly one; the whole text must match. Two pointers with one
 * position to return to: linear in practice, never exponential.
 */
export function globMatches(pattern: string, text: string): boolean {
  let p = 0
  let t = 0
  let star = -1
  let resume = 0
  while (t < text.length) {
    const char = pattern[p]
    if (char === '*') {
      star = p++
      resume = t
    } else if (char !== undefined && (char === '?' || char === text[t])) {
      p++
      t++
    } else if (star >= 0) {
      p = star + 1
      t = ++resume
    } else return false
  }
  while (pattern[p] === '*') p++
  return p === pattern.length
}

/** ArnLike: each of an ARN's six parts matches on its own, so that `*` does not cross a colon (IAM, ARN operators). */
export function arnMatches(pattern: string, arn: string): boolean {
  const want = arnParts(pattern)
  const have = arnParts(arn)
  return want.length === have.length && want.every((part, i) => globMatches(part, have[i] ?? ''))
}

function arnParts(text: string): string[] {
  const parts = text.split(':')
  return [...parts.slice(0, 5), ...(parts.length > 5 ? [parts.slice(5).join(':')] : [])]
}
