/**
 * `npm run build`: one self-contained file per process in `dist/`; each runs with `node` alone.
 * CommonJS, because it starts faster than ESM and pino, undici and the AWS SDK call `require`.
 */
import { copyFile, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type BuildOptions, build, type Metafile } from 'esbuild'

const ENTRIES = {
  sidecar: 'sidecar/main.ts',
  injector: 'injector/main.ts',
  broker: 'node-guard/broker/main.ts',
  firewall: 'node-guard/firewall/main.ts',
} as const

const COMMON: BuildOptions = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node24',
  legalComments: 'linked',
  logLevel: 'warning',
}

/**
 * The sidecar is one process per pod: only it is minified (the others keep readable stacks), and hono's `Request`,
 * `Response` and `Headers` become its own small classes, so that Node never loads undici (sidecar/README.md).
 */
const SPECIAL: Partial<Record<keyof typeof ENTRIES, BuildOptions>> = {
  sidecar: { minify: true, inject: ['sidecar/http/web.ts'] },
}

export type Component = keyof typeof ENTRIES
export const COMPONENTS = Object.keys(ENTRIES) as Component[]

/** Builds one component into `outfile`; what is in it, by source file, is esbuild's metafile. */
export async function buildComponent(name: Component, outfile: string): Promise<Metafile> {
  const { metafile } = await build({
    absWorkingDir: import.meta.dirname,
    ...COMMON,
    ...SPECIAL[name],
    entryPoints: [ENTRIES[name]],
    outfile,
    metafile: true,
  })
  return metafile
}

/**
 * Builds every component into `outdir`. Each file is replaced in one step: a demo that builds does not take the files
 * from under another one that runs.
 */
export async function buildAll(outdir: string): Promise<void> {
  const fresh = await mkdtemp(join(tmpdir(), 'pod2iam-build-'))
  await Promise.all(COMPONENTS.map((name) => buildComponent(name, join(fresh, `${name}.cjs`))))
  await mkdir(outdir, { recursive: true })
  for (const file of await readdir(fresh)) {
    const staged = join(outdir, `.${file}.${process.pid}`)
    await copyFile(join(fresh, file), staged)
    await rename(staged, join(outdir, file))
  }
  await rm(fresh, { recursive: true })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await buildAll('dist')
