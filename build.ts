/**
 * `npm run build`: one self-contained file per process in `dist/`; each runs with `node` alone.
 * CommonJS, because it starts faster than ESM and pino, undici and the AWS SDK call `require`.
 */
import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type BuildOptions, build, type Plugin, transform } from 'esbuild'

const ENTRIES = {
  sidecar: 'sidecar/main.ts',
  injector: 'injector/main.ts',
  broker: 'node-guard/broker/main.ts',
  firewall: 'node-guard/firewall/main.ts',
} as const

/**
 * `KubeConfig` imports the generated client of every Kubernetes API, and undici, for its methods that make clients
 * (`makeApiClient`, `applySecurityAuthentication`). Nobody calls them here: requests are made by common/kube/client.ts. They
 * would be 2.5 MB of the bundle and 18 MiB of memory (decision 0123).
 */
const KUBECONFIG_ALONE: Plugin = {
  name: 'kubeconfig-alone',
  setup(context) {
    const namespace = 'left-out'
    context.onResolve({ filter: /^(?:\.\/gen\/index\.js|undici)$/ }, ({ path, importer }) =>
      /client-node\/dist\/config\.js$/.test(importer) ? { path, namespace } : undefined,
    )
    context.onLoad({ filter: /.*/, namespace }, ({ path }) => ({ contents: leftOut(path) }))
  },
}

/** Comments of packages go: V8 keeps the source as it is, in memory. The code stays as readable as it was. */
const NO_COMMENTS: Plugin = {
  name: 'no-comments',
  setup(context) {
    context.onLoad({ filter: /[\\/]node_modules[\\/].*\.[cm]?js$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, 'utf8'), {
        ...{ minifyWhitespace: true, legalComments: 'inline', charset: 'utf8' },
        logLevel: 'silent',
      })
      return { contents: code }
    })
  },
}

function leftOut(path: string): string {
  const names = path === 'undici' ? ['Agent', 'ProxyAgent'] : ['createConfiguration', 'ServerConfiguration']
  return names
    .map(
      (name) => `export function ${name}() { throw new Error('${name} of ${path} is not in this bundle') }`,
    )
    .join('\n')
}

const COMMON: BuildOptions = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node24',
  legalComments: 'linked',
  plugins: [KUBECONFIG_ALONE, NO_COMMENTS],
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

/** Builds one component into `outfile`. */
export async function buildComponent(name: Component, outfile: string): Promise<void> {
  await build({
    absWorkingDir: import.meta.dirname,
    ...COMMON,
    ...SPECIAL[name],
    entryPoints: [ENTRIES[name]],
    outfile,
  })
  await writeFile(outfile, inOneByte(await readFile(outfile, 'utf8')))
}

/**
 * V8 keeps a source of which one character needs two bytes with two bytes for each: megabytes, for a comment in somebody's
 * package. esbuild escapes such characters in strings, and leaves them in comments.
 */
function inOneByte(source: string): string {
  return source.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
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
    await rename(staged, join(outdir, file))
  }
  await rm(fresh, { recursive: true })
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await buildAll('dist')
