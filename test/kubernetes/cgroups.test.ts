import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { hierarchies, makeCgroups, removeCgroups } from './cgroups.ts'

let root: string
before(() => {
  root = mkdtempSync(join(tmpdir(), 'pod2iam-cgroups-'))
})
after(() => rmSync(root, { recursive: true }))

test('cgroups v1 are created in every hierarchy, with the processors of the parent', () => {
  for (const name of ['memory', 'cpuset']) mkdirSync(join(root, name))
  writeFileSync(join(root, 'cpuset', 'cpuset.cpus'), '0-1\n')
  writeFileSync(join(root, 'cpuset', 'cpuset.mems'), '0\n')
  const roots = hierarchies(root)
  assert.deepEqual(roots.map((path) => path.slice(root.length + 1)).sort(), ['cpuset', 'memory'])
  makeCgroups('run/node', roots)
  assert.ok(existsSync(join(root, 'memory/run/node')))
  assert.equal(readFileSync(join(root, 'cpuset/run/node/cpuset.cpus'), 'utf8'), '0-1\n')
})

test('cgroups v2 have one hierarchy, in which children get the controllers of the parent', () => {
  const unified = join(root, 'unified')
  mkdirSync(unified)
  writeFileSync(join(unified, 'cgroup.controllers'), 'pids\n')
  writeFileSync(join(unified, 'cgroup.subtree_control'), '')
  assert.deepEqual(hierarchies(unified), [unified])
  makeCgroups('run', [unified])
  assert.equal(readFileSync(join(unified, 'cgroup.subtree_control'), 'utf8'), '+pids')
})

test('a cgroup is removed with everything below it, and removing one that does not exist is no error', async () => {
  const memory = join(root, 'memory')
  makeCgroups('other/a/b', [memory])
  await removeCgroups('other', [memory])
  assert.ok(!existsSync(join(memory, 'other')))
  await removeCgroups('other', [memory])
})
