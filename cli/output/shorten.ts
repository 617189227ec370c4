/**
 * Texts without what all of them begin with, where that ends at a boundary: a table of roles of one account does not repeat its ARN
 * in every line.
 *
 * @param boundary what the part left out ends with
 * @returns the texts as they are, and no `common`, where they do not share one, or where there are fewer than one
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

/** Names of nodes without the domain that all of them share. */
export function withoutCommonDomain(names: readonly string[]): readonly string[] {
  const domains = new Set(names.map((one) => one.slice(one.indexOf('.'))))
  const labels = names.map((one) => one.replace(/[.].*$/, ''))
  const isOne = domains.size === 1 && names.every((one) => one.includes('.'))
  return isOne && new Set(labels).size === labels.length ? labels : names
}
