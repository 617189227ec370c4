/** The firewall's folders are layers, in the order that its README names: each imports only from those before it. */
import assert from 'node:assert/strict'
import { globSync } from 'node:fs'
import { join, normalize } from 'node:path'
import { test } from 'node:test'
import { codeSpans, readPage } from './markdown.ts'
import { source } from './source.ts'

const FIREWALL = 'node-guard/firewall'

/** The folder of a path below the firewall's, or a file beside the folders. */
const layerOf = (path: string) => path.split('/')[0] ?? ''

/** What each file imports of the firewall, types included, also where it is imported only when a command needs it. */
const IMPORTS = globSync('**/*.ts', { cwd: join(import.meta.dirname, '../..', FIREWALL) }).map((file) => ({
  file,
  imports: [...source(`${FIREWALL}/${file}`).matchAll(/(?:from |import\()'(\.[^']+)'/g)]
    .map(([, specifier = '']) => normalize(join(file, '..', specifier)))
    .filter((path) => !path.startsWith('..')),
}))

const LAYERS = codeSpans(
  /^Layers.*?`\. /m.exec(readPage(`${FIREWALL}/README.md`).prose)?.[0] ??
    'the README has no paragraph “Layers”',
)

test('the README lists every folder of the firewall and every file beside them, each once', () => {
  assert.deepEqual(LAYERS.toSorted(), [...new Set(IMPORTS.map(({ file }) => layerOf(file)))].toSorted())
})

test('no file imports from a layer above its own', () => {
  const level = (path: string) => LAYERS.indexOf(layerOf(path))
  const upwards = IMPORTS.flatMap(({ file, imports }) =>
    imports.filter((path) => level(path) > level(file)).map((path) => `${file} imports ${path}`),
  )
  assert.deepEqual(upwards, [])
  assert.ok(IMPORTS.flatMap(({ imports }) => imports).length > 100, 'imports are found')
})
