/** What the product can print: its sources as text, its flags, keys and codes. */
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { optionsOfCli } from '../../cli/program.ts'
import { KEYS } from '../../common/keys.ts'
import { SPEC as INJECTOR } from '../../injector/settings.ts'
import { BROKER_SETTINGS } from '../../node-guard/broker/settings.ts'
import { BOOT_SETTINGS } from '../../node-guard/firewall/boot/main.ts'
import { GATE_SETTINGS } from '../../node-guard/firewall/gate/settings.ts'
import { GUARD_SETTINGS } from '../../node-guard/firewall/guard/settings.ts'
import { SPEC as SIDECAR } from '../../sidecar/settings.ts'
import { PROJECT } from './markdown.ts'

/** The text of a source file. */
export function source(file: string): string {
  return readFileSync(join(PROJECT, file), 'utf8')
}

const CONSTANTS: Readonly<Record<string, string>> = {
  GATE_CONTAINER: 'pod2iam-gate',
  SIDECAR_CONTAINER: 'pod2iam-sidecar',
  ...Object.fromEntries(Object.entries(KEYS).map(([name, key]) => [`KEYS.${name}`, key])),
}

const SOURCES = globSync('{cli,common,injector,node-guard,sidecar}/**/*.ts', { cwd: PROJECT })
  .map(source)
  .join('\n')

/** Strings in expressions inside of sentences, such as `${found ? 'answered' : 'gave no answer'}`. */
export const ALTERNATIVES: readonly string[] = [...SOURCES.matchAll(/[?:] '([^'\n]+)'/g)].map(
  ([, text = '']) => text,
)

/** All sources of the product with concatenated sentences: `${…}` becomes `…`, or the text of the constant. */
export const SENTENCES = SOURCES.replace(/(['`"]) \+\s*(['`"])/g, '')
  .replace(/\$\{([^}]*)\}/g, (_, name: string) => CONSTANTS[name] ?? '…')
  .replaceAll("\\'", "'")

const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

/** Every flag of our programs. */
export const FLAGS: ReadonlySet<string> = new Set(
  [INJECTOR, BROKER_SETTINGS, GATE_SETTINGS, GUARD_SETTINGS, BOOT_SETTINGS, SIDECAR]
    .flatMap((spec) => Object.keys(spec))
    .concat('json', 'openThisNode', 'version', 'help')
    .map((name) => `--${kebab(name)}`)
    .concat(optionsOfCli()),
)

const VALUES: unknown = parse(source('charts/pod2iam/values.yaml'))

/** Whether the chart has a value of this path, such as `guard.mode`. */
export function isChartValue(path: string): boolean {
  let at: unknown = VALUES
  for (const key of path.split('.')) {
    if (typeof at !== 'object' || at === null || !(key in at)) return false
    at = (at as Record<string, unknown>)[key]
  }
  return true
}

/** The top-level keys of the chart's values. */
export const CHART_SECTIONS: readonly string[] = Object.keys(VALUES as object)

/** Every text that the first group of a pattern matches in a file. */
export function codesIn(file: string, pattern: RegExp): string[] {
  return [...new Set([...source(file).matchAll(pattern)].map(([, code = '']) => code))]
}
