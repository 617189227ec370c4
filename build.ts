/**
 * `npm run build`: one self-contained file per process in `dist/`; each runs with `node` alone.
 * CommonJS, because it starts faster than ESM and pino, undici and the AWS SDK call `require`.
 */
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type BuildOptions, build, type Metafile, type Plugin, transform } from 'esbuild'

const ENTRIES = {
  sidecar: 'sidecar/main.ts',
  injector: 'injector/main.ts',
  broker: 'node-guard/broker/main.ts',
  firewall: 'node-guard/firewall/main.ts',
  /** A separate file next to the broker, which loads it only with `--kubeconfig`: in the bundle it would cost 2.4 MiB on every node. */
  kubeconfig: 'common/kube/kubeconfig.ts',
  pod2iam: 'cli/main.ts',
} as const

/**
 * `KubeConfig` imports the generated client of every Kubernetes API, and undici, for its methods that make clients
 * (`makeApiClient`, `applySecurityAuthentication`). We do not call them, because common/kube/client.ts sends all requests. They
 * would cost 2.5 MB of the bundle and 18 MiB of memory (decision 0123).
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

/** Leaves code that a process loads only when needed in a separate file, which is built next to the bundle. */
const KUBECONFIG_BESIDE: Plugin = {
  name: 'kubeconfig-beside',
  setup(context) {
    context.onResolve({ filter: /[\\/]kube[\\/]kubeconfig\.ts$/ }, ({ kind }) =>
      kind === 'dynamic-import' ? { path: './kubeconfig.cjs', external: true } : undefined,
    )
  },
}

/**
 * Removes the comments of packages, because V8 keeps the source in memory. The code stays as readable as before. This also removes
 * annotations of pure calls, so it is not used for the sidecar, which is minified anyway: there they let esbuild drop unused code.
 */
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
  sidecar: { minify: true, inject: ['sidecar/http/web.ts'], plugins: [] },
  broker: { plugins: [KUBECONFIG_BESIDE, NO_COMMENTS] },
  // This one runs with whatever Node.js version the operator has.
  pod2iam: {
    // It uses the complete API of client-node.
    plugins: [],
    banner: {
      js: `if (Number(process.versions.node.split('.')[0]) < 24) { console.error('pod2iam: Node.js ' + process.versions.node + ' is too old: it needs 24 or newer'); process.exit(2) }`,
    },
  },
}

export type Component = keyof typeof ENTRIES
export const COMPONENTS = Object.keys(ENTRIES) as Component[]

/**
 * Builds one component into `outfile`, and next to it the files that it loads only when needed. esbuild's metafile lists the contents
 * by source file.
 */
export async function buildComponent(name: Component, outfile: string): Promise<Metafile> {
  if (name === 'broker') await bundle('kubeconfig', join(dirname(outfile), 'kubeconfig.cjs'))
  return bundle(name, outfile)
}

async function bundle(name: Component, outfile: string): Promise<Metafile> {
  const { metafile } = await build({
    absWorkingDir: import.meta.dirname,
    ...COMMON,
    ...SPECIAL[name],
    entryPoints: [ENTRIES[name]],
    outfile,
    metafile: true,
  })
  await writeFile(outfile, inOneByte(await readFile(outfile, 'utf8')))
  return metafile
}

/**
 * If one character of a source needs two bytes, V8 stores all of it with two bytes per character, so a comment in some package would
 * cost megabytes. esbuild escapes such characters in strings but not in comments.
 */
function inOneByte(source: string): string {
  return source.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/**
 * Builds every component into `outdir`. Each file is replaced atomically, so that a build does not break a demo that is
 * running.
 */
export async function buildAll(outdir: string): Promise<void> {
  const fresh = await mkdtemp(join(tmpdir(), 'pod2iam-build-'))
  await Promise.all(COMPONENTS.map((name) => bundle(name, join(fresh, `${name}.cjs`))))
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
