/**
 * What a release of the command line consists of:
 *
 *   main.ts package DIRECTORY       the directory that `npm pack` and `npm publish` take
 *   main.ts archive DIRECTORY       the program for this platform, as a tar.gz with its checksum
 *   main.ts krew DIRECTORY URL      the manifest for krew, for all archives in the directory, which will be published under the URL
 */
import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { VERSION } from '../../common/version.ts'
import { writeExecutable } from './executable.ts'
import { type Archive, krewManifest } from './krew.ts'
import { writePackage } from './package.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '../..')
const ARCHIVE = /^kubectl-pod2iam-(linux|darwin)-(amd64|arm64)\.tar\.gz$/

async function archive(directory: string): Promise<string> {
  const arch = process.arch === 'x64' ? 'amd64' : process.arch
  const name = `kubectl-pod2iam-${process.platform}-${arch}.tar.gz`
  const content = await mkdtemp(join(tmpdir(), 'pod2iam-archive-'))
  try {
    await writeExecutable(join(content, 'kubectl-pod2iam'))
    await copyFile(join(ROOT, 'LICENSE'), join(content, 'LICENSE'))
    const made = join(content, name)
    await run('tar', ['-czf', made, '-C', content, 'kubectl-pod2iam', 'LICENSE'])
    await copyFile(made, join(directory, `.${name}`))
    await rename(join(directory, `.${name}`), join(directory, name))
    return join(directory, name)
  } finally {
    await rm(content, { recursive: true, force: true })
  }
}

async function krew(directory: string, url: string): Promise<string> {
  const archives = (await readdir(directory)).sort().flatMap((file): Archive[] => {
    const [, os, arch] = ARCHIVE.exec(file) ?? []
    if ((os !== 'linux' && os !== 'darwin') || (arch !== 'amd64' && arch !== 'arm64')) return []
    return [{ os, arch, file: join(directory, file) }]
  })
  if (archives.length === 0)
    throw new Error(`there is no archive in ${directory}: create one with main.ts archive`)
  const file = join(directory, 'pod2iam.yaml')
  await writeFile(file, await krewManifest(VERSION, url.replace(/\/$/, ''), archives))
  return file
}

async function main([command, to, url]: readonly string[]): Promise<void> {
  if (to === undefined)
    throw new Error('name what to create and a directory: package, archive, or krew with a URL')
  const directory = resolve(to)
  await mkdir(directory, { recursive: true })
  if (command === 'package') await writePackage(directory)
  else if (command === 'archive') console.log(await archive(directory))
  else if (command === 'krew' && url !== undefined) console.log(await krew(directory, url))
  else throw new Error('the first argument must be package, archive, or krew with a URL')
}

main(process.argv.slice(2)).catch((error: Error) => {
  console.error(`pod2iam release: ${error.message}`)
  process.exit(1)
})
