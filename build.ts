/**
 * `npm run build`: one self-contained file per process in `dist/`; each runs with `node` alone.
 * CommonJS, because it starts faster than ESM and pino, undici and the AWS SDK call `require`.
 */
import { chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type BuildOptions, build } from 'esbuild'

const ENTRIES = {
  sidecar: 'sidecar/main.ts',
  injector: 'injector/main.ts',
  broker: 'node-guard/broker/main.ts',
  firewall: 'node-guard/firewall/main.ts',
  pod2iam: 'cli/main.ts',
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
  // The one that runs under whatever Node.js the operator has.
  pod2iam: {
    banner: {
      js: `if (Number(process.versions.node.split('.')[0]) < 24) { console.error('pod2iam: Node.js ' + process.versions.node + ' is too old: it needs 24 or newer'); process.exit(2) }`,
    },
  },
}

export type Component = keyof typeof ENTRIES

/** Builds one component into `outfile`. */
export async function buildComponent(name: Component, outfile: string): Promise<void> {
  await build({
    absWorkingDir: import.meta.dirname,
    ...COMMON,
    ...SPECIAL[name],
    entryPoints: [ENTRIES[name]],
    outfile,
  })
}

/**
 * Builds every component into `outdir`. Each file is replaced in one step: a demo that builds does not take the files
 * from under another one that runs.
 */
export async function buildAll(outdir: string): Promise<void> {
  const fresh = await mkdtemp(join(tmpdir(), 'pod2iam-build-'))
  const names = Object.keys(ENTRIES) as Component[]
  await Promise.all(names.map((name) => buildComponent(name, join(fresh, `${name}.cjs`))))
  await mkdir(outdir, { recursive: true })
  for (const file of await readdir(fresh)) {
    const staged = join(outdir, `.${file}.${process.pid}`)
    await copyFile(join(fresh, file), staged)
    if (file === 'pod2iam.cjs') await chmod(staged, 0o755)
    await rename(staged, join(outdir, file))
  }
  await rm(fresh, { recursive: true })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await buildAll('dist')
