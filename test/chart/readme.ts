/**
 * The chart's README, with a table of every value that is generated from values.yaml: `node test/chart/readme.ts` writes it again.
 * The description of a value is only in the comment above it in values.yaml.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { isMap, isScalar, type Pair, parseDocument, type YAMLMap } from 'yaml'
import { CHART } from './helm.ts'

const README = `${CHART}/README.md`
const BEGIN = '<!-- values: made by test/chart/readme.ts from values.yaml -->'

type Value = { readonly key: string; readonly fallback: string; readonly meaning: string }
type Section = { readonly key: string; readonly meaning: string; readonly values: readonly Value[] }

/** The text of README.md as it should be: the handwritten part, then the tables. */
export function readme(): string {
  const [written = ''] = readFileSync(README, 'utf8').split(BEGIN)
  const tables = sections(readFileSync(`${CHART}/values.yaml`, 'utf8')).map(table)
  return `${written}${BEGIN}\n\n${tables.join('\n\n')}\n`
}

/** The keys of values without a description; there should be none. */
export function undocumented(): string[] {
  return sections(readFileSync(`${CHART}/values.yaml`, 'utf8'))
    .flatMap(({ values }) => values)
    .flatMap(({ key, meaning }) => (meaning === '' ? [key] : []))
}

/** Values grouped by their first key; scalar values at the top level form one group. */
function sections(text: string): Section[] {
  const { contents, commentBefore } = parseDocument(text)
  if (!isMap(contents)) throw new Error('values.yaml is no map')
  giveToFirstKey(contents, commentBefore)
  const top: Value[] = []
  const parts: Section[] = []
  for (const pair of contents.items) {
    const key = keyOf(pair)
    const values = leaves(pair, '')
    if (values.length === 1 && values[0]?.key === key) top.push(...values)
    else parts.push({ key, meaning: commentOf(pair), values })
  }
  return [{ key: '', meaning: '', values: top }, ...parts]
}

function leaves(pair: Pair, prefix: string): Value[] {
  const { value } = pair
  const key = prefix + keyOf(pair)
  // A map without keys, or with the keys of a Kubernetes object, is one value.
  const isValue = !isMap(value) || value.flow === true || /\.resources$/.test(key) || value.items.length === 0
  if (isMap(value)) giveToFirstKey(value, value.commentBefore)
  if (!isValue) return value.items.flatMap((item) => leaves(item, `${key}.`))
  const json = isMap(value) || !isScalar(value) ? value : value.value
  return [{ key, fallback: JSON.stringify(json) ?? '', meaning: commentOf(pair) }]
}

/** The parser attaches the comment above the first key of a map to the map itself. */
function giveToFirstKey({ items: [first] }: YAMLMap, comment: string | null | undefined): void {
  if (first !== undefined && isScalar(first.key) && comment) first.key.commentBefore ??= comment
}

const keyOf = ({ key }: Pair): string => (isScalar(key) ? String(key.value) : String(key))

function commentOf({ key }: Pair): string {
  const lines = (isScalar(key) ? (key.commentBefore ?? '') : '').split('\n')
  return lines
    .map((line) => line.trim())
    .join(' ')
    .trim()
}

function table({ key, meaning, values }: Section): string {
  const cell = (text: string) => text.replaceAll('|', '\\|')
  return [
    ...(key === '' ? [] : [`### ${key}`, '', ...(meaning === '' ? [] : [meaning, ''])]),
    '| value | default | meaning |',
    '|---|---|---|',
    ...values.map((value) => `| \`${value.key}\` | \`${cell(value.fallback)}\` | ${cell(value.meaning)} |`),
  ].join('\n')
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) writeFileSync(README, readme())
