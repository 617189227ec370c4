/**
 * The previous release's programs, small enough for a repository. What runs in pods for months (sidecar, gate, and the guard of
 * the same file) is kept completely; of broker and injector only their own code is kept, and they use the libraries of this checkout.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib'
import { build } from 'esbuild'

export const RECORDED = join(import.meta.dirname, 'recorded')
const PROJECT = join(import.meta.dirname, '../..')

export type Program = 'sidecar' | 'firewall' | 'broker' | 'injector'

/** Entry points of the programs of which only their own code is kept. */
const OWN_CODE = { broker: 'node-guard/broker/main.ts', injector: 'injector/main.ts' } as const
const WHOLE = ['sidecar', 'firewall'] as const

const fileOf = (program: Program) => join(RECORDED, `${program}.cjs.br`)

/** @param checkout of the release, built */
export async function recordPrograms(checkout: string): Promise<void> {
  const keep = (program: Program, text: string | Uint8Array) =>
    writeFile(
      fileOf(program),
      brotliCompressSync(text, {
        params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY },
      }),
    )
  for (const program of WHOLE) await keep(program, readFileSync(join(checkout, 'dist', `${program}.cjs`)))
  for (const [program, entry] of Object.entries(OWN_CODE)) {
    const { outputFiles } = await build({
      absWorkingDir: checkout,
      entryPoints: [entry],
      bundle: true,
      write: false,
      packages: 'external',
      platform: 'node',
      format: 'cjs',
      target: 'node24',
      minifyWhitespace: true,
      logLevel: 'warning',
    })
    await keep(program as Program, outputFiles[0]?.contents ?? '')
  }
}

export type Unpacked = {
  /** The directory of the files. */
  readonly directory: string
  /** The program's file, for `node`. */
  readonly file: (program: Program) => string
  readonly remove: () => void
}

/** Unpacks the recorded programs into a directory of their own. */
export function unpackPrograms(): Unpacked {
  const directory = mkdtempSync(join(tmpdir(), 'pod2iam-previous-'))
  // In the sandbox the programs run as other users.
  chmodSync(directory, 0o755)
  // Here they find libraries that are not in their files; NODE_PATH is not used for modules that are imported later.
  symlinkSync(join(PROJECT, 'node_modules'), join(directory, 'node_modules'))
  const unpacked = new Map<Program, string>()
  return {
    directory,
    file: (program) => {
      const file = unpacked.get(program) ?? join(directory, `${program}.cjs`)
      if (!unpacked.has(program)) writeFileSync(file, brotliDecompressSync(readFileSync(fileOf(program))))
      unpacked.set(program, file)
      return file
    },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  }
}
