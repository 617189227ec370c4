/** The commands in shell blocks, split into words. */
import type { Block } from './markdown.ts'

/** Every command of a program in a shell block, without the program's own name. */
export function commandsOf({ text }: Block, program: string): string[][] {
  return text
    .replace(/\\\n/g, ' ')
    .split('\n')
    .map((line) => line.replace(/\s+#.*$|^#.*$/, '').trim())
    .filter((line) => line.startsWith(`${program} `))
    .map((line) => words(line).slice(1))
}

/** The words of a line without quotes. */
function words(line: string): string[] {
  return [...line.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g)].map(([word]) =>
    word.replace(/'([^']*)'|"([^"]*)"/g, '$1$2'),
  )
}
