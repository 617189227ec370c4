/**
 * The npm package of the command line: only the bundle, so that `npx` fetches one file and no dependencies. The
 * checkout's own package.json lists the dependencies of all programs.
 */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '../..')
const FILES = ['LICENSE', 'dist/pod2iam.cjs', 'dist/pod2iam.cjs.LEGAL.txt'] as const

type Manifest = {
  readonly version: string
  readonly license: string
  readonly engines: object
}

/** Creates the directory that `npm pack` and `npm publish` use. Needs `dist/`. */
export async function writePackage(directory: string): Promise<void> {
  const { version, license, engines }: Manifest = JSON.parse(
    await readFile(join(ROOT, 'package.json'), 'utf8'),
  )
  await mkdir(directory, { recursive: true })
  for (const file of FILES) await copyFile(join(ROOT, file), join(directory, file.replace(/^.*[/]/, '')))
  const manifest = {
    name: 'pod2iam',
    version,
    description: 'The command line of pod2iam: check, status, who, explain, audit, trust',
    ...{ license, engines },
    bin: { pod2iam: 'pod2iam.cjs', 'kubectl-pod2iam': 'pod2iam.cjs' },
  }
  await writeFile(join(directory, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
}
