/** Tests use the configured release of Kubernetes, and never programs of two releases. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { minorOf, versionOf } from './kubernetes-release.ts'

const MODULE = new URL('peers.ts', import.meta.url).href
let directory: string

before(() => {
  directory = mkdtempSync(join(tmpdir(), 'release-'))
  program('bin/kubelet', 'Kubernetes v1.37.2')
  program('bin/helm', 'v4.3.1')
  program('kubernetes-oldest/kubelet', 'Kubernetes v1.29.15')
  program('bin/kubectl', 'Client Version: v1.37.2')
})
after(() => rmSync(directory, { recursive: true }))

function program(name: string, says: string): void {
  const path = join(directory, name)
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, `#!/bin/sh\necho ${says}\n`, { mode: 0o755 })
}

/** The result in a process of its own, since the location of peers is read at its start. */
function find(command: string, release?: string): { path?: string; skip?: string; error: string } {
  const script = `const { needsPeer, peer } = await import(${JSON.stringify(MODULE)})
    console.log(JSON.stringify({ path: peer(process.argv[1]), ...needsPeer(process.argv[1]) }))`
  const env = { PATH: process.env.PATH, POD2IAM_PEERS: directory, POD2IAM_KUBERNETES: release }
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script, command], {
    encoding: 'utf8',
    env,
    timeout: 180_000,
  })
  return { ...JSON.parse(stdout || '{}'), error: stderr }
}

test('the newest release is used by default', () => {
  for (const release of [undefined, '', 'newest'])
    assert.equal(find('kubelet', release).path, join(directory, 'bin/kubelet'))
})

test('the oldest release has its own directory, and other programs than those of Kubernetes are shared', () => {
  assert.equal(find('kubelet', 'oldest').path, join(directory, 'kubernetes-oldest/kubelet'))
  assert.equal(find('helm', 'oldest').path, join(directory, 'bin/helm'))
})

test('a program of the newest release is not used for the oldest', () => {
  const { path, skip = '' } = find('kubectl', 'oldest')
  assert.equal(path, undefined)
  assert.match(skip, /^kubectl of the oldest Kubernetes is not installed \(\.ci\/peers oldest_/)
})

test('another value than newest or oldest is refused', () => {
  assert.match(find('kubelet', '1.30').error, /POD2IAM_KUBERNETES is "1\.30"; it can be newest or oldest/)
})

test('the version of a program is read from its output', () => {
  const version = versionOf(join(directory, 'kubernetes-oldest/kubelet'))
  assert.deepEqual([version, minorOf(version)], ['1.29.15', 29])
  assert.throws(() => versionOf(join(directory, 'bin/helm')), /does not say which Kubernetes it is/)
})
