/** The pages that people read, parsed into fenced blocks, links, headings and code spans. */
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

export const PROJECT = fileURLToPath(new URL('../../', import.meta.url))

export type Block = {
  /** `page:line`, for messages. */
  readonly at: string
  readonly language: string
  /** The word after the language, which says which test runs it. */
  readonly tag: string
  readonly text: string
}

export type Page = {
  /** The path from the project's directory. */
  readonly file: string
  readonly blocks: readonly Block[]
  /** The page without its fenced blocks. */
  readonly prose: string
  readonly anchors: ReadonlySet<string>
  readonly links: readonly string[]
}

const FENCE = /^```(\S*) ?(.*)\n([\s\S]*?)^```$/gm

/** Reads a page. */
export function readPage(file: string): Page {
  const text = readFileSync(join(PROJECT, file), 'utf8')
  const blocks = [...text.matchAll(FENCE)].map(({ index, 1: language = '', 2: tag = '', 3: body = '' }) => {
    const line = text.slice(0, index).split('\n').length
    return { at: `${file}:${line}`, language, tag, text: body }
  })
  const prose = text.replace(FENCE, '')
  return {
    file,
    blocks,
    prose,
    anchors: new Set([...prose.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) => anchorOf(title))),
    links: [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target),
  }
}

/** The anchor that GitHub generates for a heading. */
function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replace(/\s/g, '-')
}

const read = (pattern: string) => globSync(pattern, { cwd: PROJECT }).sort().map(readPage)

/** The pages for operators and users. */
export const PAGES: readonly Page[] = [...read('*.md'), ...read('docs/*.md')]
/** These pages and those for contributors. */
export const ALL_PAGES: readonly Page[] = [
  ...PAGES,
  ...read('docs/decisions/*.md'),
  ...read('{charts,common,examples,injector,node-guard,sidecar,test}/**/README.md'),
].filter(({ file }) => !file.includes('node_modules'))

/** One page; throws if it does not exist. */
export function page(file: string): Page {
  const found = PAGES.find((one) => one.file === file)
  if (found === undefined) throw new Error(`there is no page ${file}`)
  return found
}

/** The only block of a page with this tag. */
export function tagged(file: string, tag: string): Block {
  const found = page(file).blocks.filter((block) => block.tag === tag)
  if (found.length !== 1 || found[0] === undefined)
    throw new Error(`${file} has ${found.length} blocks ${tag}`)
  return found[0]
}

/** The code spans of a text. */
export function codeSpans(text: string): string[] {
  return [...text.matchAll(/`([^`\n]+)`/g)].map(([, code = '']) => code)
}

/** The cells of every table row under a heading of any level with this title. */
export function rowsUnder({ prose, file }: Page, title: string): string[][] {
  const start = prose.search(new RegExp(`^#+ ${title}$`, 'm'))
  if (start < 0) throw new Error(`${file} has no heading ${title}`)
  const section =
    prose
      .slice(start)
      .replace(/^#+ .*\n/, '')
      .split(/^#+ /m)[0] ?? ''
  return [...section.matchAll(/^\|(.*)\|$/gm)]
    .map(([, row = '']) => row.split(/(?<!\\)\|/).map((cell) => cell.trim()))
    .filter(([first = '']) => !/^-+$/.test(first))
}

/** The target of a link as a path from the project's directory. */
export function resolveLink(from: string, target: string): string {
  return relative(PROJECT, join(PROJECT, dirname(from), target))
}
