/** Prometheus's own check of rules, as Debian packages it. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { needsPeer, peer } from '../peers/peers.ts'

export const needsPromtool = needsPeer('promtool')

/**
 * Runs promtool in its own directory.
 *
 * @param args the arguments of promtool, which name the files
 * @param files the contents of these files, as objects
 * @returns the output of promtool if it found something wrong, otherwise undefined
 */
export function promtool(
  args: readonly string[],
  files: Readonly<Record<string, unknown>>,
): string | undefined {
  const directory = mkdtempSync(join(tmpdir(), 'promtool-'))
  try {
    for (const [name, content] of Object.entries(files))
      writeFileSync(join(directory, name), stringify(content))
    const command = peer('promtool') ?? ''
    const { error, status, stdout, stderr } = spawnSync(command, args, {
      cwd: directory,
      encoding: 'utf8',
      timeout: 60_000,
    })
    if (error) throw error
    return status === 0 ? undefined : stdout + stderr
  } finally {
    rmSync(directory, { recursive: true })
  }
}
