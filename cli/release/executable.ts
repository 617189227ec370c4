/**
 * Builds one file that needs no Node.js: a copy of Node that contains the bundle (Node's single executable applications,
 * nodejs.org/api/single-executable-applications.html).
 */
import { execFile } from 'node:child_process'
import { chmod, copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const { resolve } = createRequire(import.meta.url)
const ROOT = join(import.meta.dirname, '../..')
/** The marker by which Node finds out that it contains an application; the same in every Node binary. */
const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2'

/**
 * Builds for the current platform, with the Node that runs this.
 *
 * @param outfile path of the program. Needs `dist/`
 */
export async function writeExecutable(outfile: string): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-sea-'))
  const isMac = process.platform === 'darwin'
  try {
    const [config, blob] = [join(directory, 'sea.json'), join(directory, 'sea.blob')]
    await writeFile(
      config,
      JSON.stringify({
        main: join(ROOT, 'dist/pod2iam.cjs'),
        output: blob,
        disableExperimentalSEAWarning: true,
      }),
    )
    await run(process.execPath, ['--experimental-sea-config', config])
    await copyFile(process.execPath, outfile)
    await chmod(outfile, 0o755)
    // The file's signature is no longer valid, and macOS runs nothing without one.
    if (isMac) await run('codesign', ['--remove-signature', outfile])
    await run(process.execPath, [
      ...[resolve('postject/dist/cli.js'), outfile, 'NODE_SEA_BLOB', blob, '--sentinel-fuse', FUSE],
      ...(isMac ? ['--macho-segment-name', 'NODE_SEA'] : []),
    ])
    if (isMac) await run('codesign', ['--sign', '-', outfile])
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
