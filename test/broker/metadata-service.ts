/** A metadata service in this process, with a few leaves. */

/** A metadata service with these leaves and its listings; paths are below `meta-data/` unless they begin with `dynamic/`. */
export function service(leaves: Record<string, string>) {
  const asked: string[] = []
  const get = async (path: string): Promise<string | undefined> => {
    asked.push(path)
    const all = Object.entries(leaves).map(([key, text]) => [
      key.startsWith('dynamic/') ? key : `meta-data/${key}`,
      text,
    ])
    const leaf = all.find(([key]) => key === path)
    if (leaf) return leaf[1]
    const below = all.map(([key = '']) => key).filter((key) => path.endsWith('/') && key.startsWith(path))
    const names = below.map((key) => key.slice(path.length).replace(/\/.*/, '/'))
    return names.length === 0 ? undefined : [...new Set(names)].join('\n')
  }
  return { asked, close: () => {}, get }
}
