/** docs/alerts.md has a section for every alert, to which the alert links, and no other section. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RULE_FILE, rulesOf } from '../chart/alerts.ts'
import { page } from './markdown.ts'

test('every alert has a section in docs/alerts.md, and every section an alert', () => {
  const { prose } = page('docs/alerts.md')
  const sections = [...prose.matchAll(/^### (Pod2iam\S*)\n\n(.+)$/gm)]
  assert.deepEqual(
    sections.map(([, name]) => name).sort(),
    rulesOf(RULE_FILE)
      .map(({ alert }) => alert)
      .sort(),
  )
  for (const [, name, text = ''] of sections) assert.ok(text.length > 60, name)
})
