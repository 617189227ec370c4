/** A node's first process: what `firewall boot-rules` has installed is loaded at the next boot, before the node has a network. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { METADATA_ADDRESSES } from '../../common/addresses.ts'
import { BOOT_BACKENDS, userData } from '../../node-guard/firewall/boot/files.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { DEFAULT_PATH, tool } from '../sandbox/node/tools.ts'
import { until } from '../support/until.ts'
import { BOOT_NAMESPACES } from './node.ts'

const BOOT = fileURLToPath(new URL('boot.sh', import.meta.url))
const SYSTEMD = fileURLToPath(new URL('systemd', import.meta.url))
const ADDRESSES = { metadata: METADATA_ADDRESSES, broker: ['169.254.170.24'] }

type Booted = { readonly run: (script: string) => string; readonly off: () => Promise<void> }

describe('the boot of a node', needsNamespaces(), () => {
  for (const backend of BOOT_BACKENDS)
    test(`loads the rules that were installed, and none after they were removed (${backend})`, async () => {
      const directory = mkdtempSync(join(tmpdir(), 'pod2iam-node-'))
      const rules = backend === 'nft' ? 'nft list tables' : 'iptables-save'
      const marked = backend === 'nft' ? /pod2iam_boot/ : /POD2IAM_BOOT/
      try {
        const first = await boot(directory)
        assert.doesNotMatch(first.run(rules), marked)
        first.run(userData(backend, ADDRESSES))
        assert.match(first.run(rules), marked)
        assert.ok(!existsSync('/etc/pod2iam'), 'the machine’s own files are left alone')
        await first.off()
        const second = await boot(directory)
        assert.match(second.run(rules), marked)
        second.run('systemctl disable pod2iam-boot.service; rm /etc/pod2iam/boot*')
        await second.off()
        const third = await boot(directory)
        assert.doesNotMatch(third.run(rules), marked)
        await third.off()
      } finally {
        rmSync(directory, { recursive: true })
      }
    })

  test('fails if the rules cannot be loaded', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'pod2iam-node-'))
    try {
      const first = await boot(directory)
      first.run(userData('nft', ADDRESSES))
      first.run('echo nonsense >/etc/pod2iam/boot.nft')
      await first.off()
      await assert.rejects(boot(directory), /ended with 1/)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})

async function boot(directory: string): Promise<Booted> {
  rmSync(join(directory, 'up'), { force: true })
  const argv = [...BOOT_NAMESPACES, '--', BOOT, directory, 'node', 'b007']
  const child = spawn(tool('unshare'), argv, { stdio: 'ignore' })
  await until('it is up', () => {
    if (child.exitCode !== null) throw new Error(`the boot ended with ${child.exitCode}`)
    return existsSync(join(directory, 'up'))
  })
  const inside = ['--target', String(firstOf(child)), '--mount', '--pid', '--uts', '--net', '--']
  return {
    run: (script) => {
      writeFileSync(join(directory, 'script'), script)
      const command = [...inside, tool('env'), `PATH=${SYSTEMD}:${DEFAULT_PATH}`, '/bin/sh', '-e']
      return execFileSync(tool('nsenter'), [...command, join(directory, 'script')], { encoding: 'utf8' })
    },
    off: async () => {
      child.kill('SIGKILL')
      await until('it is off', () => child.signalCode !== null)
    },
  }
}

function firstOf({ pid }: ChildProcess): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')[0])
}
