/** The rules of the linters which enforce the architecture do find what they forbid. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { before, describe, it, test } from 'node:test'

const PROJECT = join(import.meta.dirname, '../..')

const importing = (path: string) => `import * as other from '${path}'\n\nexport const used = other\n`

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
  'test/allowed.ts': importing('../injector/main.ts'),
}

/** A function of that many lines, of which a third only closes blocks. */
const linesOf = (count: number) =>
  `export function long(): void {\n${'  {\n    console.log(1)\n  }\n'.repeat((count - 2) / 3)}}\n`

/** Runs a linter with its configuration of this project on other files; gives what it prints. */
function lint(config: string, files: Record<string, string>, program: string, ...argv: string[]): string {
  const directory = mkdtempSync(join(tmpdir(), 'pod2iam-lint-'))
  try {
    cpSync(join(PROJECT, config), join(directory, config))
    for (const [file, text] of Object.entries({ 'package.json': '{}', ...files })) {
      mkdirSync(dirname(join(directory, file)), { recursive: true })
      writeFileSync(join(directory, file), text)
    }
    const command = join(PROJECT, 'node_modules/.bin', program)
    const { stdout, stderr } = spawnSync(command, argv, { cwd: directory, encoding: 'utf8' })
    assert.ok(stdout.startsWith('{'), stderr)
    return stdout
  } finally {
    rmSync(directory, { recursive: true })
  }
}

describe('biome', () => {
  let found: Map<string, string[]>

  before(() => {
    const texts = Object.entries(FORBIDDEN).map(([file, { text }]) => [file, text])
    const files = { ...ALLOWED, ...Object.fromEntries(texts) }
    const output = lint(
      'biome.jsonc',
      files,
      'biome',
      'lint',
      '--reporter=json',
      '--max-diagnostics=none',
      '.',
    )
    const { diagnostics } = JSON.parse(output) as {
      diagnostics: { category: string; location: { path: string } }[]
    }
    found = new Map(
      [...Map.groupBy(diagnostics, ({ location }) => location.path)].map(([path, all]) => [
        path,
        all.map(({ category }) => category.split('/').at(-1) ?? ''),
      ]),
    )
  })

  for (const [file, { rule }] of Object.entries(FORBIDDEN))
    it(`finds ${rule} in ${file}`, () => assert.deepEqual(found.get(file), [rule]))

  for (const file of Object.keys(ALLOWED))
    it(`allows what ${file} does`, () => assert.deepEqual(found.get(file) ?? [], []))
})

test('oxlint finds functions of the product that are longer than 60 lines, closing brackets included', () => {
  const files = {
    'sidecar/long.ts': linesOf(62),
    'sidecar/short.ts': linesOf(59),
    'sidecar/commented.ts': linesOf(59).replace('{\n', '{\n\n  // One.\n  // Two.\n'),
    'test/long.ts': linesOf(101),
  }
  const { diagnostics } = JSON.parse(lint('.oxlintrc.json', files, 'oxlint', '--format=json')) as {
    diagnostics: { code: string; filename: string }[]
  }
  assert.deepEqual(
    diagnostics.map(({ code, filename }) => [code, filename]),
    [['eslint(max-lines-per-function)', 'sidecar/long.ts']],
  )
})

test('knip finds files and exports that nothing imports', () => {
  const files = {
    'cli/main.ts': "import { USED } from './used.ts'\n\nconsole.log(USED)\n",
    'cli/used.ts': 'export const USED = 1\nexport const UNUSED = 2\nexport type Unused = string\n',
    'cli/stray.ts': 'console.log(1)\n',
  }
  const { issues } = JSON.parse(lint('knip.json', files, 'knip', '--no-progress', '--reporter=json')) as {
    issues: Record<'files' | 'exports' | 'types', { name: string }[]>[]
  }
  const names = (kind: 'files' | 'exports' | 'types') =>
    issues.flatMap((issue) => issue[kind].map(({ name }) => name))
  assert.deepEqual(
    [names('files'), names('exports'), names('types')],
    [['cli/stray.ts'], ['UNUSED'], ['Unused']],
  )
})
