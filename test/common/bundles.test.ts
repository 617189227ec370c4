/** What the build leaves out of the bundles, which are kept in memory as they are. */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildComponent } from '../../build.ts'

for (const component of ['injector', 'kubeconfig'] as const)
  test(`the ${component}’s bundle has KubeConfig without the generated client, is pure ASCII, and has no comments of packages`, async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'pod2iam-bundle-'))
    t.after(() => rm(directory, { recursive: true, force: true }))
    const file = join(directory, 'bundle.cjs')
    await buildComponent(component, file)
    const source = await readFile(file, 'utf8')
    assert.match(source, /applyToHTTPSOptions/)
    assert.doesNotMatch(source, /class ObjectSerializer|CoreV1Api|class ProxyAgent|\/undici\//)
    // A single character that is not ASCII would make Node keep two bytes for every character in memory.
    assert.equal(/[^\0-\x7f]/.exec(source)?.index, undefined)
    // A comment of js-yaml's `load`, which the bundle has.
    assert.doesNotMatch(source, /Optional `mark` contains source snippet data/)
  })

test('the broker has KubeConfig in a separate file, which it loads only with --kubeconfig', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-bundle-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  await buildComponent('broker', join(directory, 'broker.cjs'))
  assert.doesNotMatch(await readFile(join(directory, 'broker.cjs'), 'utf8'), /applyToHTTPSOptions/)
  assert.match(await readFile(join(directory, 'kubeconfig.cjs'), 'utf8'), /applyToHTTPSOptions/)
})
