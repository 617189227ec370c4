/** What the build leaves out of the bundles, which are kept in memory as they are. */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildComponent } from '../../build.ts'

for (const component of ['injector', 'kubeconfig'] as const)
  test(`the ${component} has KubeConfig without the generated client, one byte a character, and no package’s comments`, async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'pod2iam-bundle-'))
    t.after(() => rm(directory, { recursive: true, force: true }))
    const file = join(directory, 'bundle.cjs')
    await buildComponent(component, file)
    const source = await readFile(file, 'utf8')
    assert.match(source, /applyToHTTPSOptions/)
    assert.doesNotMatch(source, /class ObjectSerializer|CoreV1Api|class ProxyAgent|\/undici\//)
    // One character that is not ASCII would give every other one two bytes in memory, too.
    assert.equal(/[^\0-\x7f]/.exec(source)?.index, undefined)
    // In js-yaml's `load`, which the bundle has.
    assert.doesNotMatch(source, /Optional `mark` contains source snippet data/)
  })

test('the broker has KubeConfig in a file beside it, which it loads with --kubeconfig alone', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-bundle-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  await buildComponent('broker', join(directory, 'broker.cjs'))
  assert.doesNotMatch(await readFile(join(directory, 'broker.cjs'), 'utf8'), /applyToHTTPSOptions/)
  assert.match(await readFile(join(directory, 'kubeconfig.cjs'), 'utf8'), /applyToHTTPSOptions/)
})
