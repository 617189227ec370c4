/**
 * Matches `text` as a whole against a pattern in which `*` stands for any run of characters, `/` included, and
 * nothing else is special (kube2iam's dialect, without ryanuber/go-glob's faults on overlapping parts).
 * Linear in pattern × text at worst, without recursion: safe on patterns from tenants.
 */
export function globMatches(pattern: string, text: string): boolean {
  let p = 0
  let t = 0
  let star = -1
  let resume = 0
  while (t < text.length) {
    if (pattern[p] === '*') {
      star = p++
      resume = t
    } else if (pattern[p] === text[t]) {
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
