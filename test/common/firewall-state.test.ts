import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import {
  type FirewallState,
  whyUnguarded,
  whyUnreadable,
  writeFirewallState,
} from '../../common/firewall-state.ts'
import { VERSION } from '../../common/version.ts'

const NOW = Date.UTC(2026, 0, 1)
const GUARDED: FirewallState = {
  version: 1,
  mode: 'enforce',
  backend: 'nft',
  verified: true,
  verifiedAt: new Date(NOW).toISOString(),
  validSeconds: 30,
}

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'pod2iam-state-'))
  t.after(() => rm(path, { recursive: true }))
  return path
}

test('a node counts as guarded while a verified report is fresh', async (t) => {
  const path = await directory(t)
  await writeFirewallState(path, GUARDED)
  assert.equal(await whyUnguarded(path, NOW), undefined)
  assert.equal(await whyUnguarded(path, NOW + 30_000), undefined)
  assert.match(
    (await whyUnguarded(path, NOW + 31_000)) ?? '',
    /last verified its rules at 2026-01-01T00:00:00/,
  )
})

test('a report from the future does not count, unless it is so little ahead that a clock step explains it', async (t) => {
  const path = await directory(t)
  await writeFirewallState(path, GUARDED)
  assert.equal(await whyUnguarded(path, NOW - 4000), undefined)
  assert.notEqual(await whyUnguarded(path, NOW - 6000), undefined)
})

test('a missing, unreadable or foreign report means that the node is unguarded, with a sentence that says why', async (t) => {
  const path = await directory(t)
  assert.match((await whyUnguarded(path, NOW)) ?? '', /has not reported/)
  for (const text of ['', '{', 'null', '[]', '{}', JSON.stringify({ ...GUARDED, version: 2 })]) {
    await writeFile(join(path, 'firewall.json'), text)
    assert.equal(typeof (await whyUnguarded(path, NOW)), 'string', text)
  }
  for (const part of ['verifiedAt', 'validSeconds', 'verified'] as const) {
    await writeFile(join(path, 'firewall.json'), JSON.stringify({ ...GUARDED, [part]: undefined }))
    assert.equal(typeof (await whyUnguarded(path, NOW)), 'string', part)
  }
})

test('a report of another format is named as such, with both releases and the remedy', async (t) => {
  const path = await directory(t)
  for (const [report, said] of [
    [{ ...GUARDED, version: 2, release: '9.1.0' }, /has shape 2 \(its release: 9\.1\.0\)/],
    [{ ...GUARDED, version: 0 }, /has shape 0 \(its release: not said\)/],
    [{ ...GUARDED, mode: 'lenient' }, /has shape 1 \(its release/],
    [{ ...GUARDED, verified: 'yes' }, /has shape 1/],
    [{ ...GUARDED, verifiedAt: undefined }, /has shape 1/],
    [{ ...GUARDED, validSeconds: 0 }, /has shape 1/],
    [{}, /has a shape that is not known here/],
    [{ ...GUARDED, version: 3, release: '9"\n{x' }, /\(its release: 9x\)/],
  ] as const) {
    await writeFile(join(path, 'firewall.json'), JSON.stringify(report))
    const why = (await whyUnguarded(path, NOW)) ?? ''
    assert.match(why, said)
    assert.match(why, /this broker of release \d+\.\d+\.\d+ reads shape 1: .* delete this node-guard pod/)
    assert.equal(await whyUnreadable(path), why)
  }
})

test('only a complete report in another format counts as one of another release', async (t) => {
  const path = await directory(t)
  assert.equal(await whyUnreadable(path), undefined)
  await writeFile(join(path, 'firewall.json'), '{"version":')
  assert.equal(await whyUnreadable(path), undefined)
  assert.match((await whyUnguarded(path, NOW)) ?? '', /cannot be read: check the firewall container/)
  await writeFirewallState(path, { ...GUARDED, verified: false })
  assert.equal(await whyUnreadable(path), undefined)
})

test('a report names the release of the firewall that wrote it', async (t) => {
  const path = await directory(t)
  await writeFirewallState(path, GUARDED)
  const written = JSON.parse(await readFile(join(path, 'firewall.json'), 'utf8'))
  assert.deepEqual(written, { release: VERSION, ...GUARDED })
})

test('rules that could not be verified mean that the node is unguarded, for the reason which the firewall gives', async (t) => {
  const path = await directory(t)
  await writeFirewallState(path, { ...GUARDED, verified: false, detail: 'Cilium bypasses netfilter' })
  assert.equal(await whyUnguarded(path, NOW), 'Cilium bypasses netfilter')
})

test('a firewall in mode remove leaves the node unguarded', async (t) => {
  const path = await directory(t)
  await writeFirewallState(path, { ...GUARDED, mode: 'remove' })
  assert.match((await whyUnguarded(path, NOW)) ?? '', /--mode=remove/)
})

test('pods of a node in audit mode may still get credentials, since a migration needs both at once', async (t) => {
  const path = await directory(t)
  await writeFirewallState(path, { ...GUARDED, mode: 'audit' })
  assert.equal(await whyUnguarded(path, NOW), undefined)
})

test('writing a report leaves only the complete file, and creates a directory that does not exist yet', async (t) => {
  const path = join(await directory(t), 'deep', 'er')
  await writeFirewallState(path, GUARDED)
  await writeFirewallState(path, GUARDED)
  assert.deepEqual(await readdir(path), ['firewall.json'])
})
