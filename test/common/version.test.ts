import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { it } from 'node:test'
import { VERSION } from '../../common/version.ts'

it('the version is that of package.json and its lockfile', () => {
  const read = (file: string) => JSON.parse(readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8'))
  assert.equal(VERSION, read('package.json').version)
  const lock = read('package-lock.json')
  assert.deepEqual([lock.version, lock.packages[''].version], [VERSION, VERSION])
})
