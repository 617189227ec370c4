/**
 * `npm run build`: one self-contained file per process in `dist/`; each runs with `node` alone.
 * CommonJS, because it starts faster than ESM and pino, undici and the AWS SDK call `require`.
 */
import { rm } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'
import { type BuildOptions, build } from 'esbuild'

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

/** Only the sidecar is minified: it is one process per pod. The others keep readable stacks. */
const SPECIAL: Partial<Record<keyof typeof ENTRIES, BuildOptions>> = { sidecar: { minify: true } }

/** Builds every component into `outdir`. */
export async function buildAll(outdir: string): Promise<void> {
  await rm(outdir, { recursive: true, force: true })
  await Promise.all(
    Object.entries(ENTRIES).map(([name, entry]) =>
      build({
        ...COMMON,
        ...SPECIAL[name as keyof typeof ENTRIES],
        entryPoints: [entry],
        outfile: `${outdir}/${name}.cjs`,
      }),
    ),
  )
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await buildAll('dist')
