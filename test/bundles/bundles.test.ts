/**
 * Each bundle contains what its list says, and no package is larger than its limit, so that a new dependency is seen in
 * review (after tailscale's depaware). `UPDATE_GOLDEN=1 node --test test/bundles/bundles.test.ts` writes the lists again;
 * read the diff, and say in the commit what a new line is for.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { buildComponent, COMPONENTS } from '../../build.ts'
import { contentsOf, differences, listFor, readAllowed } from './contents.ts'

describe('the bundle', () => {
  const directory = mkdtempSync(join(tmpdir(), 'pod2iam-bundles-'))
  after(() => rmSync(directory, { recursive: true }))

  for (const component of COMPONENTS)
    it(`of ${component} contains what test/bundles/${component}.txt lists`, async () => {
      const file = join(import.meta.dirname, `${component}.txt`)
      const contents = contentsOf(await buildComponent(component, join(directory, `${component}.cjs`)))
      const before = readAllowed(existsSync(file) ? readFileSync(file, 'utf8') : '')
      if (process.env.UPDATE_GOLDEN === '1') writeFileSync(file, listFor(component, contents, before))
      const found = differences(contents, readAllowed(readFileSync(file, 'utf8')))
      assert.deepEqual(found, [], 'UPDATE_GOLDEN=1 writes the list again; a new line needs a reason')
    })
})

describe('the list of a bundle', () => {
  const metafile = (inputs: Record<string, number>, imports: readonly string[] = []) => ({
    inputs: {},
    outputs: {
      'out.cjs': {
        bytes: 0,
        exports: [],
        imports: imports.map((path) => ({ path, kind: 'require-call' as const, external: true })),
        inputs: Object.fromEntries(
          Object.entries(inputs).map(([path, bytesInOutput]) => [path, { bytesInOutput }]),
        ),
      },
    },
  })
  const contents = contentsOf(
    metafile(
      {
        'sidecar/main.ts': 10,
        'sidecar/imds/app.ts': 20,
        'node-guard/broker/main.ts': 5,
        'node_modules/hono/dist/hono.js': 7,
        'node_modules/@hono/node-server/dist/index.mjs': 8,
        'node_modules/a/node_modules/b/index.js': 9,
        'common/types.ts': 0,
      },
      ['fs', 'node:http'],
    ),
  )

  it('has the bytes of each package and of each folder of ours, and modules of Node by one name', () => {
    assert.deepEqual([...contents.bytes].sort(), [
      ['@hono/node-server', 8],
      ['b', 9],
      ['hono', 7],
      ['node-guard/broker/', 5],
      ['sidecar/', 30],
    ])
    assert.deepEqual([...contents.builtins], ['node:fs', 'node:http'])
  })

  it('differs by a package, a size, a module of Node, or a line that is not needed any more', () => {
    const text = `# comment
      @hono/node-server 8
      b 8
      node-guard/broker/ 5
      sidecar/ 30
      gone 1

      node:fs
      node:crypto`
    assert.deepEqual(differences(contents, readAllowed(text)), [
      'hono is in the bundle (7 bytes) and not in the list',
      'b takes 9 bytes, more than its 8',
      'gone is in the list and not in the bundle',
      'node:http is imported and not in the list',
      'node:crypto is in the list and not imported',
    ])
  })

  it('agrees with the bundle when it is written again, and keeps the ceilings that still hold', () => {
    const text = listFor('sidecar', contents, readAllowed('hono 1234\nb 1'))
    assert.deepEqual(differences(contents, readAllowed(text)), [])
    assert.match(text, /^hono 1234$/m)
    assert.match(text, /^b 100$/m)
  })

  it('refuses a ceiling that is not a number', () => {
    assert.match(
      differences(contents, readAllowed('hono many')).join(),
      /hono takes 7 bytes, more than its NaN/,
    )
  })
})
