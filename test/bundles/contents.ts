/** The content of a bundle by package, and the list of what it may contain. Pure. */
import type { Metafile } from 'esbuild'

export type Contents = {
  /** The bytes in the bundle of each package, and of each top-level folder of ours. */
  readonly bytes: ReadonlyMap<string, number>
  /** Modules of Node that the bundle imports or requires, as `node:NAME`. */
  readonly builtins: ReadonlySet<string>
}

/** Each line has a name with the most bytes that it may take, or only the name of a module of Node. */
export type Allowed = {
  readonly ceilings: ReadonlyMap<string, number>
  readonly builtins: ReadonlySet<string>
}

/** Reads esbuild's metafile of one bundle. */
export function contentsOf({ outputs }: Metafile): Contents {
  const bytes = new Map<string, number>()
  const builtins = new Set<string>()
  for (const { inputs, imports } of Object.values(outputs)) {
    for (const [path, { bytesInOutput }] of Object.entries(inputs)) {
      if (bytesInOutput === 0) continue
      const name = packageOf(path)
      bytes.set(name, (bytes.get(name) ?? 0) + bytesInOutput)
    }
    for (const { path } of imports) builtins.add(`node:${path.replace(/^node:/, '')}`)
  }
  return { bytes, builtins }
}

/** `node_modules/@hono/node-server/dist/index.mjs` → `@hono/node-server`, `sidecar/imds/app.ts` → `sidecar/`. */
function packageOf(path: string): string {
  const inside = path.split('node_modules/').at(-1) ?? path
  const [first = '', second = ''] = inside.split('/')
  if (inside === path) return first === 'node-guard' ? `${first}/${second}/` : `${first}/`
  return first.startsWith('@') ? `${first}/${second}` : first
}

/** Reads a list. Blank lines and lines that begin with `#` are comments. */
export function readAllowed(text: string): Allowed {
  const ceilings = new Map<string, number>()
  const builtins = new Set<string>()
  for (const line of text.split('\n')) {
    const [name = '', ceiling] = line.trim().split(/\s+/)
    if (name === '' || name.startsWith('#')) continue
    if (ceiling === undefined) builtins.add(name)
    else ceilings.set(name, Number(ceiling))
  }
  return { ceilings, builtins }
}

/** One sentence for each difference between a bundle and its list. */
export function differences({ bytes, builtins }: Contents, allowed: Allowed): string[] {
  const found: string[] = []
  for (const [name, size] of bytes) {
    const ceiling = allowed.ceilings.get(name)
    if (ceiling === undefined) found.push(`${name} is in the bundle (${size} bytes) and not in the list`)
    else if (!(size <= ceiling)) found.push(`${name} takes ${size} bytes, more than its ${ceiling}`)
  }
  for (const name of allowed.ceilings.keys())
    if (!bytes.has(name)) found.push(`${name} is in the list and not in the bundle`)
  for (const name of builtins)
    if (!allowed.builtins.has(name)) found.push(`${name} is imported and not in the list`)
  for (const name of allowed.builtins)
    if (!builtins.has(name)) found.push(`${name} is in the list and not imported`)
  return found
}

/**
 * The list for a bundle. A ceiling that still holds is kept, so that the difference between two lists shows only what a
 * change has added. A new ceiling leaves room for another tenth.
 */
export function listFor(component: string, { bytes, builtins }: Contents, before: Allowed): string {
  const ceilings = [...bytes].map(([name, size]) => {
    const old = before.ceilings.get(name)
    return `${name} ${old !== undefined && size <= old ? old : Math.ceil((size * 1.1) / 100) * 100}`
  })
  return [
    `# What dist/${component}.cjs may contain: our folders and packages with the most bytes of each, then modules of Node.`,
    '# UPDATE_GOLDEN=1 node --test test/bundles/bundles.test.ts writes it again; read the diff.',
    ...ceilings.sort(),
    '',
    ...[...builtins].sort(),
    '',
  ].join('\n')
}
