/** What the guard of a release writes into the directory that it shares with the broker, by mode. */
import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { NO_CAPABILITY, startGuard } from '../firewall/guard-process.ts'
import { openNode } from '../firewall/node.ts'
import { until } from '../support/until.ts'

export type SharedFiles = {
  /** `enforce`, `audit`, `remove`, or `unverified` for a guard that may not write rules. */
  readonly of: string
  readonly files: Readonly<Record<string, string>>
}

/** @param bundle `dist/firewall.cjs` of the release */
export async function sharedFiles(bundle: string): Promise<SharedFiles[]> {
  const node = await openNode()
  const written: SharedFiles[] = []
  try {
    for (const kind of ['unverified', 'audit', 'enforce', 'remove']) {
      const directory = await mkdtemp(join(tmpdir(), 'pod2iam-shared-'))
      const mode = kind === 'unverified' ? 'enforce' : kind
      const wrapper = kind === 'unverified' ? NO_CAPABILITY : undefined
      const guard = await startGuard(node, [`--mode=${mode}`, `--state-dir=${directory}`], wrapper, bundle)
      const read = () => {
        const names = readdirSync(directory).filter((name) => !name.startsWith('.'))
        return Object.fromEntries(names.map((name) => [name, readFileSync(join(directory, name), 'utf8')]))
      }
      // Wait for both files, after the guard has checked everything once.
      const isWritten = () => {
        const { 'firewall.json': state = '{}', 'firewall-status.json': status = '{"status":{}}' } = read()
        const verified = [JSON.parse(state).verified, JSON.parse(status).status.verified]
        return verified.every((one) => one === (kind !== 'unverified'))
      }
      await until(`${kind} is written`, isWritten)
      written.push({ of: kind, files: read() })
      await guard.end('SIGTERM')
      await rm(directory, { recursive: true, force: true })
    }
  } finally {
    await node.close()
  }
  return written
}
