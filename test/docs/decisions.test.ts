/**
 * Decision records: each has a status and a date, the index lists all of them, and every reference in the repository exists.
 * `UPDATE_GOLDEN=1 node --test test/docs/decisions.test.ts` writes the index again.
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { PROJECT } from './markdown.ts'

const INDEX = 'docs/decisions/README.md'
const HEADING = '| number | title | status | date |\n|---|---|---|---|\n'
type Decision = {
  readonly file: string
  readonly number: string
  readonly title: string | undefined
  /** `accepted` or `superseded`, and which other records change or extend it. */
  readonly status: string
  readonly date: string
}

const text = (file: string) => readFileSync(join(PROJECT, file), 'utf8')
const decisions = globSync('docs/decisions/[0-9]*.md', { cwd: PROJECT }).sort().map(readDecision)
const numbers = new Set(decisions.map(({ number }) => number))

function readDecision(file: string): Decision {
  const number = basename(file).slice(0, 4)
  const [first = '', , third = ''] = text(file).split('\n')
  const [, word = '', date = '', more = ''] = /^Status: (\w+), (\d{4}-\d\d-\d\d)\.(.*)$/.exec(third) ?? []
  return {
    file,
    number,
    title: new RegExp(`^# ${Number(number)}\\. (.+)$`).exec(first)?.[1],
    status: `${word}${more === '' ? '' : `.${more}`}`.replace(/\[(\d+)\]\([^)]*\)/g, '$1'),
    date,
  }
}

for (const { file, number, title, status, date } of decisions)
  test(`${file} has its number in the title, and a status and a date in the third line`, () => {
    assert.ok(title, `the first line is not "# ${Number(number)}. TITLE"`)
    assert.match(status, /^(accepted|superseded)\b/, 'the third line is not "Status: accepted, YYYY-MM-DD."')
    assert.ok(!Number.isNaN(Date.parse(date)), date)
  })

test('the index lists every record', () => {
  const before = text(INDEX)
  const start = before.indexOf(HEADING)
  assert.ok(start > 0, 'there is no table')
  const rows = decisions.map(
    ({ file, number, title, status, date }) =>
      `| ${number} | [${title}](${basename(file)}) | ${status} | ${date} |\n`,
  )
  const index = `${before.slice(0, start)}${HEADING}${rows.join('')}`
  if (process.env.UPDATE_GOLDEN === '1') writeFileSync(join(PROJECT, INDEX), index)
  assert.equal(text(INDEX), index, 'UPDATE_GOLDEN=1 writes it again')
})

test('every reference to a decision leads to an existing record', () => {
  const files = globSync(
    '{*.md,Dockerfile,build.ts,{cli,charts,common,docs,examples,injector,node-guard,sidecar,test}/**/*.{md,ts,yaml,tpl,sh}}',
    { cwd: PROJECT },
  ).filter((file) => !/node_modules|\/golden\/|\/recorded\/|docs\/decisions\.test\.ts/.test(file))
  const missing = files.flatMap((file) => {
    const all = text(file)
    const named = [
      ...all.matchAll(/\bdecisions?[ /]\[?(\d{1,4})(?!\d|\.\d)(?:(?:,| and) (\d{1,4}))?/gi),
      ...all.matchAll(/\]\((?:[^)\s]*\/)?(\d{4})-[a-z-]+\.md\)/g),
      // In the records, a number of four digits with a leading zero refers to another one.
      ...(file.startsWith('docs/decisions/') ? all.matchAll(/(?<![\d.:x-])\b(0[01]\d\d)\b(?![\d:-])/g) : []),
      ...all.matchAll(/[(`](0[01]\d\d)[)`]/g),
    ].flatMap(([, ...found]) => found.filter((one) => one !== undefined))
    return named
      .map((one) => one.padStart(4, '0'))
      .filter((one) => !numbers.has(one))
      .map((one) => `${file}: ${one}`)
  })
  assert.deepEqual([...new Set(missing)], [])
})
