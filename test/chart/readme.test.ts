import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { CHART } from './helm.ts'
import { readme, undocumented } from './readme.ts'

test('the chart’s README has every value as in values.yaml', () => {
  assert.equal(
    readFileSync(`${CHART}/README.md`, 'utf8'),
    readme(),
    'node test/chart/readme.ts writes it again',
  )
})

test('every value has a description in values.yaml', () => {
  assert.deepEqual(undocumented(), [])
})
