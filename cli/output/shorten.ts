/**
 * Removes the prefix that all texts share, up to a boundary, so that a table of roles of one account does not repeat the ARN
 * in every line.
 *
 * @param boundary the last character of the removed prefix
 * @returns the unchanged texts and an empty `common` if they share no prefix or if there are none
 */
export function withoutCommonStart(
  texts: readonly string[],
  boundary: string,
): { readonly texts: readonly string[]; readonly common: string } {
  const [first = ''] = texts
  const common = first.slice(0, first.indexOf(boundary) + boundary.length)
  const isShared = first.includes(boundary) && texts.every((one) => one.startsWith(common))
  return isShared ? { texts: texts.map((one) => one.slice(common.length)), common } : { texts, common: '' }
}

/** Names of nodes without their common domain. */
export function withoutCommonDomain(names: readonly string[]): readonly string[] {
  const domains = new Set(names.map((one) => one.slice(one.indexOf('.'))))
  const labels = names.map((one) => one.replace(/[.].*$/, ''))
  const isOne = domains.size === 1 && names.every((one) => one.includes('.'))
  return isOne && new Set(labels).size === labels.length ? labels : names
}
