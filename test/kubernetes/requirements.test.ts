import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { missingPackages, pluginDirectory } from './requirements.ts'

test('missing commands and plugins are reported as Debian packages', () => {
  const has = (command: string) => !['runc', 'nft'].includes(command)
  assert.deepEqual(missingPackages(has, '/usr/lib/cni'), ['runc', 'nftables'])
  assert.deepEqual(
    missingPackages(() => true, undefined),
    ['containernetworking-plugins'],
  )
  assert.deepEqual(
    missingPackages(() => true, '/opt/cni/bin'),
    [],
  )
})

test('the plugin directory is the first that has every plugin which is used', () => {
  const root = mkdtempSync(join(tmpdir(), 'pod2iam-plugins-'))
  try {
    const [half, whole] = [join(root, 'half'), join(root, 'whole')]
    for (const directory of [half, whole]) {
      mkdirSync(directory)
      for (const plugin of ['bridge', 'host-local']) writeFileSync(join(directory, plugin), '')
    }
    writeFileSync(join(whole, 'loopback'), '')
    assert.equal(pluginDirectory([join(root, 'none'), half]), undefined)
    assert.equal(pluginDirectory([half, whole]), whole)
  } finally {
    rmSync(root, { recursive: true })
  }
})
