import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { deleteEach } from './delete-each.ts'

const SOURCE = `export function allowed(role) {
  if (role === 'admin') return false
  if (role === 'other') return true
  return true
}
`
const TEST = `import assert from 'node:assert'
import { allowed } from './source.js'
assert.equal(allowed('admin'), false)
assert.equal(allowed('app'), true)
`

let project = ''
beforeEach(() => {
  project = mkdtempSync(join(tmpdir(), 'mutation-'))
  mkdirSync(join(project, 'node_modules'))
  writeFileSync(join(project, 'package.json'), '{"type":"module"}')
  writeFileSync(join(project, 'source.js'), SOURCE)
  writeFileSync(join(project, 'source.test.js'), TEST)
})
afterEach(() => rmSync(project, { recursive: true }))

/** In place of the time that a run may take. */
function whenSomethingHangs(onLate: () => void): () => void {
  const look = () => {
    for (const name of readdirSync(tmpdir())) {
      const mark = join(tmpdir(), name, 'hangs')
      if (!name.startsWith('pod2iam-mutation-') || !existsSync(mark)) continue
      rmSync(mark)
      onLate()
    }
  }
  const timer = setInterval(look, 20)
  return () => clearInterval(timer)
}

const lines: string[] = []
const mutate = (types: string) =>
  deleteEach({
    project,
    targets: { 'source.js': ['source.test.js'] },
    types: [process.execPath, '-e', types],
    timeoutMs: 60_000,
    clock: { after: (_, onLate) => whenSomethingHangs(onLate) },
    workers: 1,
    print: (line) => lines.push(line),
  })

test('a statement that no test needs survives its deletion, and is named at once', async () => {
  const { total, survivors } = await mutate('')
  assert.equal(total, 3)
  assert.deepEqual(
    survivors.map(({ deletion }) => deletion.what),
    ["if (role === 'other') return true"],
  )
  assert.ok(lines.includes("✖ nobody notices when source.js:3 is gone: if (role === 'other') return true"))
  assert.equal(readFileSync(join(project, 'source.js'), 'utf8'), SOURCE)
})

test('a deletion that only the types notice is noticed', async () => {
  const needsThree = "process.exit(require('fs').readFileSync('source.js','utf8').includes('other') ? 0 : 1)"
  assert.deepEqual((await mutate(needsThree)).survivors, [])
})

test('a deletion with which the tests hang is noticed, and counted', async () => {
  const hang =
    "import { writeFileSync } from 'node:fs'\nwriteFileSync('hangs', '')\nsetInterval(() => {}, 1000)"
  writeFileSync(join(project, 'hang.js'), hang)
  writeFileSync(
    join(project, 'source.test.js'),
    `${TEST.replace("assert.equal(allowed('app')", "if (!allowed('other')) await import('./hang.js')\nassert.equal(allowed('app')")}`,
  )
  const last = "return role !== 'other'"
  writeFileSync(join(project, 'source.js'), SOURCE.replace('return true\n}', `${last}\n}`))
  const { late, survivors } = await mutate('')
  assert.deepEqual([late, survivors], [1, []])
})

test('types that fail in any case stop the run, since they would notice everything', async () => {
  await assert.rejects(
    mutate("console.log('no such file'); process.exit(2)"),
    /although nothing is deleted\nno such file/,
  )
})

test('tests that fail in any case stop the run', async () => {
  writeFileSync(join(project, 'source.test.js'), "throw new Error('broken')")
  await assert.rejects(mutate(''), /fail although nothing is deleted: source\.test\.js[\s\S]*broken/)
})
