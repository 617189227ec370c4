/** The table in docs/clients.md: a row for each client, between two markers. */
import { readFileSync, writeFileSync } from 'node:fs'

const FILE = new URL('../../docs/clients.md', import.meta.url)
const BLOCK = /(<!-- clients -->\n)([\s\S]*?)(<!-- \/clients -->)/
const HEAD = [
  '| client | tried | v1 | v2 | required | IPv6 | `env` | container | proxy | proxy, `env` | from version |',
  '|---|---|---|---|---|---|---|---|---|---|---|',
]

/** The cells after the name of the client. */
export type Row = readonly string[]

/** The rows of the table by the name of the client. */
export function readTable(): Map<string, Row> {
  const [, , block = ''] = BLOCK.exec(readFileSync(FILE, 'utf8')) ?? []
  const lines = block.split('\n').filter((line) => line.startsWith('| '))
  const cells = lines.slice(1).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
  return new Map(cells.map(([name = '', ...row]) => [name, row]))
}

export function writeTable(rows: ReadonlyMap<string, Row>): void {
  const text = readFileSync(FILE, 'utf8')
  const lines = [...rows].map(([name, row]) => `| ${[name, ...row].join(' | ')} |`)
  writeFileSync(
    FILE,
    text.replace(BLOCK, (_all, start, _block, end) => `${start}${[...HEAD, ...lines].join('\n')}\n${end}`),
  )
}
