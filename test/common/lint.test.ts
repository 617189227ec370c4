/** The rules of `biome.jsonc` which enforce the architecture do find what they forbid. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, describe, it } from 'node:test'

const PROJECT = join(import.meta.dirname, '../..')

const importing = (path: string) => `import * as other from '${path}'\n\nexport const used = other\n`
const linesOf = (count: number) =>
  `export function long(): void {\n${'  console.log(1)\n'.repeat(count - 2)}}\n`

/** One file each: what it contains, and the rule that forbids it. */
const FORBIDDEN: Record<string, { text: string; rule: string }> = {
  'common/a.ts': { text: importing('../injector/pod/pod.ts'), rule: 'noRestrictedImports' },
  'injector/a.ts': { text: importing('../sidecar/main.ts'), rule: 'noRestrictedImports' },
  'injector/pod/a.ts': { text: importing('../../node-guard/broker/core.ts'), rule: 'noRestrictedImports' },
  'sidecar/imds/a.ts': { text: importing('../../injector/pod/pod.ts'), rule: 'noRestrictedImports' },
  'sidecar/a.ts': { text: importing('../test/run.ts'), rule: 'noRestrictedImports' },
  'node-guard/broker/a.ts': { text: importing('../firewall/exec.ts'), rule: 'noRestrictedImports' },
  'node-guard/firewall/nft/a.ts': { text: importing('../../broker/core.ts'), rule: 'noRestrictedImports' },
  'cli/a.ts': { text: importing('../injector/pod/pod.ts'), rule: 'noRestrictedImports' },
  'cli/product/a.ts': { text: importing('../../injector/server/body.ts'), rule: 'noRestrictedImports' },
  'cli/product/b.ts': { text: importing('../../node-guard/broker/serve.ts'), rule: 'noRestrictedImports' },
  'sidecar/long.ts': { text: linesOf(63), rule: 'noExcessiveLinesPerFunction' },
  'sidecar/cycle-1.ts': {
    text: "import type { Two } from './cycle-2.ts'\n\nexport type One = { two?: Two }\n",
    rule: 'noImportCycles',
  },
  'sidecar/cycle-2.ts': {
    text: "import type { One } from './cycle-1.ts'\n\nexport type Two = { one?: One }\n",
    rule: 'noImportCycles',
  },
  'test/floating.ts': {
    text: 'async function work(): Promise<void> {}\n\nexport function start(): void {\n  work()\n}\n',
    rule: 'noFloatingPromises',
  },
  'test/misused.ts': {
    text: 'async function work(): Promise<void> {}\n\nexport const is = work() ? 1 : 2\n',
    rule: 'noMisusedPromises',
  },
}

const ALLOWED: Record<string, string> = {
  'common/allowed.ts': importing('./addresses.ts'),
  'sidecar/allowed.ts': importing('./broker/client.ts'),
  'injector/allowed.ts': importing('./patch/sidecar.ts'),
  'node-guard/broker/allowed.ts': importing('../../common/errors.ts'),
  'cli/product/allowed.ts': importing('../../injector/pod/pod.ts'),
  'cli/product/allowed-2.ts': importing('../../node-guard/broker/authorize/resolve.ts'),
  'sidecar/short.ts': linesOf(60),
  'test/allowed.ts': importing('../injector/main.ts'),
  'test/long.ts': linesOf(100),
}

describe('the linter', () => {
  let directory: string
  let found: Map<string, string[]>

  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'pod2iam-lint-'))
    cpSync(join(PROJECT, 'biome.jsonc'), join(directory, 'biome.jsonc'))
    const files = {
      ...ALLOWED,
      ...Object.fromEntries(Object.entries(FORBIDDEN).map(([f, { text }]) => [f, text])),
    }
    for (const [file, text] of Object.entries(files)) {
      mkdirSync(dirname(join(directory, file)), { recursive: true })
      writeFileSync(join(directory, file), text)
    }
    const { stdout, stderr } = spawnSync(
      join(PROJECT, 'node_modules/.bin/biome'),
      ['lint', '--reporter=json', '--max-diagnostics=none', '.'],
      { cwd: directory, encoding: 'utf8' },
    )
    assert.ok(stdout.startsWith('{'), stderr)
    const { diagnostics } = JSON.parse(stdout) as {
      diagnostics: { category: string; location: { path: string } }[]
    }
    found = new Map(
      [...Map.groupBy(diagnostics, ({ location }) => location.path)].map(([path, all]) => [
        path,
        all.map(({ category }) => category.split('/').at(-1) ?? ''),
      ]),
    )
  })
  after(() => rmSync(directory, { recursive: true }))

  for (const [file, { rule }] of Object.entries(FORBIDDEN))
    it(`finds ${rule} in ${file}`, () => assert.deepEqual(found.get(file), [rule]))

  for (const file of Object.keys(ALLOWED))
    it(`allows what ${file} does`, () => assert.deepEqual(found.get(file) ?? [], []))
})
