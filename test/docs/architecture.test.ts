/** injector/README.md: the order in which it lists folders and files is the one in which they import each other. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { test } from 'node:test'
import { PROJECT, readPage } from './markdown.ts'

const ROOT = join(PROJECT, 'injector')
const FILES = globSync('**/*.ts', { cwd: ROOT })

/** The folder in which a file is, with a slash, or the file itself if it is in none. */
const placeOf = (file: string) => file.replace(/\/.*/s, '/')

const [, list = ''] =
  /Each of these imports only itself and what follows it,[^:]*:(.+?)\.\n\n/s.exec(
    readPage('injector/README.md').prose,
  ) ?? []
const ORDER = [...list.matchAll(/`([^`]+)`/g)].map(([, place = '']) => place)

/** The imports of a file, by their path in `injector/`, that go to what is listed before its own folder. */
function upwards(file: string, source: string): string[] {
  return [...source.matchAll(/\bfrom '(\.[^']+)'/g)]
    .map(([, path = '']) => normalize(join(dirname(file), path)))
    .filter((path) => !path.startsWith('..'))
    .filter((path) => ORDER.indexOf(placeOf(path)) < ORDER.indexOf(placeOf(file)))
}

test('every folder and file of the injector is listed once', () => {
  const places = new Set(FILES.map(placeOf))
  assert.deepEqual([...ORDER].sort(), [...places].sort())
})

test('an import of what is listed before is found', () => {
  const imports =
    "import type { Verdict } from '../admission/verdict.ts'\nimport { isObject } from '../json.ts'\n"
  assert.deepEqual(upwards('pod/pod.ts', imports), ['admission/verdict.ts'])
})

for (const place of ORDER)
  test(`${place} imports nothing that is listed before it`, () => {
    for (const file of FILES.filter((one) => placeOf(one) === place))
      assert.deepEqual(upwards(file, readFileSync(join(ROOT, file), 'utf8')), [], file)
  })
