/** Every `helm` command on the pages and every values file that they show, rendered by real helm. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { CHART, helm, needsHelm, objectsOf, RELEASE_NAMESPACE } from '../chart/helm.ts'
import { PAGES, type Page } from './markdown.ts'
import { commandsOf } from './shell.ts'

const root = mkdtempSync(join(tmpdir(), 'docs-helm-'))
after(() => rmSync(root, { recursive: true, force: true }))

/** The values files that a page shows, by name. */
function valuesFiles({ blocks }: Page): Map<string, string> {
  return new Map(
    blocks.flatMap(({ language, text }) => {
      const name = language === 'yaml' ? /^# values: (\S+)\n/.exec(text)?.[1] : undefined
      return name === undefined ? [] : [[name, text] as const]
    }),
  )
}

/** `pod2iam.yaml` as install.md writes it, for pages that continue from there. */
function installed(): string {
  const { text } =
    PAGES.flatMap(({ blocks }) => blocks).find(({ text }) => text.includes('cat >pod2iam.yaml')) ??
    assert.fail()
  const [, body = ''] = /cat >pod2iam\.yaml <<EOF\n([\s\S]*?)^EOF$/m.exec(text) ?? []
  return body.replaceAll('$ACCOUNT', '111111111111')
}

/** The file in the chart that a page copies to `pod2iam.yaml`. */
function copied({ blocks }: Page): string | undefined {
  const [, file] =
    blocks.map(({ text }) => /^cp charts\/pod2iam\/(\S+) pod2iam\.yaml$/m.exec(text)).find(Boolean) ?? []
  return file === undefined ? undefined : readFileSync(join(CHART, file), 'utf8')
}

/** A directory with the files that the commands of a page name. */
function workspace(page: Page): string {
  const directory = join(root, page.file.replaceAll('/', '-'))
  mkdirSync(join(directory, 'charts'), { recursive: true })
  symlinkSync(CHART, join(directory, 'charts/pod2iam'))
  for (const [name, text] of new Map([['pod2iam.yaml', copied(page) ?? installed()], ...valuesFiles(page)]))
    writeFileSync(join(directory, name), text)
  return directory
}

/** The arguments of an `upgrade --install` that `helm template` accepts, with absolute file names. */
function templateArgs(args: readonly string[], directory: string): string[] {
  const rest = args.filter(
    (word) => !['upgrade', 'install', '--install', '--wait', '--create-namespace'].includes(word),
  )
  // For `helm upgrade … --set x=y`, the other arguments are the usual ones.
  const whole =
    rest[0] === '…' ? ['pod2iam', 'charts/pod2iam', '--namespace', RELEASE_NAMESPACE, ...rest.slice(1)] : rest
  return whole.map((word, index) =>
    index === 1 || whole[index - 1] === '--values' ? join(directory, word) : word,
  )
}

const OTHER_RELEASES = new Set(['kube2iam', 'kiam'])

for (const page of PAGES) {
  const commands = page.blocks
    .filter(({ language }) => language === 'sh')
    .flatMap((block) => commandsOf(block, 'helm'))
  const files = [...valuesFiles(page).keys()]
  if (commands.length + files.length === 0) continue

  describe(page.file, needsHelm, () => {
    const directory = workspace(page)

    for (const args of new Set(commands.map((words) => words.join(' '))))
      test(`helm ${args}`, () => {
        const words = args.split(' ')
        const [verb, release = ''] = words
        if (verb === 'upgrade' || verb === 'install') {
          const text = helm('template', ...templateArgs(words, directory), '--kube-version=1.34.0')
          assert.ok(objectsOf(text).length > 10)
        } else {
          assert.ok(['uninstall', 'rollback', 'test'].includes(verb ?? ''), `helm ${verb}`)
          assert.ok(release === 'pod2iam' || OTHER_RELEASES.has(release), release)
          helm(verb ?? '', '--help')
        }
      })

    for (const file of files)
      test(`renders the chart with ${file}`, () => {
        const text = helm(
          'template',
          'pod2iam',
          CHART,
          '--values',
          join(directory, file),
          '--kube-version=1.34.0',
        )
        assert.ok(objectsOf(text).length > 10)
      })
  })
}
