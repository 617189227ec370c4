/** The programs for pods, as text, so that they need no image of their own. */
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const PATHS = { pod: './pod.ts', standIn: '../aws/node-side.ts', aws: '../../sandbox/aws/main.ts' } as const

export type Programs = Readonly<Record<keyof typeof PATHS, string>>

/** Bundles each of them into one CommonJS text that any Node 22 or newer runs. */
export async function bundlePrograms(): Promise<Programs> {
  const entries = Object.entries(PATHS).map(async ([name, path]) => [name, await bundle(path)] as const)
  return Object.fromEntries(await Promise.all(entries)) as Programs
}

async function bundle(path: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(path, import.meta.url))],
    bundle: true,
    minify: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    target: 'node22',
    logLevel: 'warning',
  })
  const [file] = outputFiles
  if (file === undefined) throw new Error(`esbuild made nothing of ${path}`)
  return file.text
}
