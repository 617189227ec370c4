/**
 * Settings of a process: each is a flag `--like-this` or the environment variable `POD2IAM_LIKE_THIS`
 * (the flag wins). All mistakes are collected and reported together, one sentence each.
 */
import { parseArgs } from 'node:util'
import { VERSION } from './version.ts'

/** One setting: how its text is read, its default, and a line of help. */
export type Setting<T> = {
  readonly parse: (text: string) => T
  /** Undefined: required. */
  readonly fallback: (() => T) | undefined
  /** Default as text, for the help. */
  readonly shownDefault: string
  readonly help: string
  /** May be given several times; values are joined with commas before parsing. */
  readonly repeatable?: boolean
  /** `--flag` alone means true; a value is written `--flag=false`. */
  readonly boolean?: boolean
}

export type Settings<S extends Record<string, Setting<unknown>>> = {
  readonly [K in keyof S]: S[K] extends Setting<infer T> ? T : never
}

/** Thrown by a parser; the message completes "--flag ". */
export class SettingError extends Error {}

/** @throws {SettingError} */
export function invalid(message: string): never {
  throw new SettingError(message)
}

/** Text; without a fallback it is required. */
export function text(fallback: string | undefined, help: string): Setting<string> {
  return {
    parse: (value) => value,
    fallback: fallback === undefined ? undefined : () => fallback,
    shownDefault: fallback ?? 'required',
    help,
  }
}

/** A text that may be absent. */
export const optional = (help: string) => optionally(help, (value) => value)

/** A text that may be absent, parsed by `parse`; an empty text counts as absent. */
export function optionally<T>(help: string, parse: (text: string) => T): Setting<T | undefined> {
  return {
    parse: (value) => (value === '' ? undefined : parse(value)),
    fallback: () => undefined,
    shownDefault: 'none',
    help,
  }
}

export function oneOf<const T extends string>(values: readonly T[], fallback: T, help: string): Setting<T> {
  const parse = (value: string) =>
    values.find((known) => known === value) ??
    invalid(`must be one of ${values.join(', ')}, not ${JSON.stringify(value)}`)
  return { parse, fallback: () => fallback, shownDefault: fallback, help }
}

export function flag(fallback: boolean, help: string): Setting<boolean> {
  const parse = (value: string) =>
    value === 'true'
      ? true
      : value === 'false'
        ? false
        : invalid(`must be true or false, not ${JSON.stringify(value)}`)
  return { parse, fallback: () => fallback, shownDefault: String(fallback), help, boolean: true }
}

/** A whole number within bounds, both included. */
export function whole(
  fallback: number,
  [least, most]: readonly [number, number],
  help: string,
): Setting<number> {
  const parse = (value: string) => {
    const number = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN
    return number >= least && number <= most
      ? number
      : invalid(`must be a whole number from ${least} to ${most}`)
  }
  return { parse, fallback: () => fallback, shownDefault: String(fallback), help }
}

export const port = (fallback: number, help: string) => whole(fallback, [1, 65535], help)

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const

/** A duration such as `500ms`, `10s`, `5m`, `1h`; the value is in milliseconds. */
export function duration(fallback: string | undefined, help: string): Setting<number | undefined> {
  const parse = (value: string) => {
    const [, number, unit] = /^(\d{1,9})(ms|s|m|h)$/.exec(value) ?? []
    if (!number || !unit) return invalid('must be a duration such as 500ms, 10s, 5m or 1h')
    return Number(number) * UNITS[unit as keyof typeof UNITS]
  }
  return {
    parse,
    fallback: () => (fallback === undefined ? undefined : parse(fallback)),
    shownDefault: fallback ?? 'none',
    help,
  }
}

/** A comma-separated list; the flag may be repeated. `each` checks one entry and throws a {@link SettingError}. */
export function list(
  fallback: readonly string[],
  help: string,
  each: (entry: string) => string = (entry) => entry,
): Setting<readonly string[]> {
  const parse = (value: string) => {
    const entries = value.split(',').map((entry) => entry.trim())
    return entries.filter((entry) => entry !== '').map(each)
  }
  return {
    parse,
    fallback: () => fallback,
    shownDefault: fallback.join(',') || 'none',
    help,
    repeatable: true,
  }
}

/** `brokerUrl` → `broker-url`. */
const kebab = (name: string) => name.replace(/[A-Z0-9]+/g, (run) => `-${run.toLowerCase()}`)
const envName = (flagName: string) => `POD2IAM_${flagName.replaceAll('-', '_').toUpperCase()}`

/** The environment variables from which settings are read. */
export function variableNames(spec: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(spec).map((name) => envName(kebab(name)))
}

/**
 * Reads settings.
 *
 * @param spec settings by camelCase name
 * @param source arguments (without node and script) and environment; `unknownFlags: 'ignored'` for the arguments of another
 *   process, which may be of another release
 * @returns the settings, or every mistake as a sentence
 */
export function parseSettings<S extends Record<string, Setting<unknown>>>(
  spec: S,
  source: {
    readonly argv: readonly string[]
    readonly env: Readonly<Record<string, string | undefined>>
    readonly unknownFlags?: 'ignored'
  },
):
  | { readonly ok: true; readonly settings: Settings<S> }
  | { readonly ok: false; readonly errors: readonly string[] } {
  const { flags, errors, unknown } = readFlags(source.argv, spec)
  if (source.unknownFlags !== 'ignored') errors.unshift(...unknown)
  const settings: Record<string, unknown> = {}
  for (const [name, setting] of Object.entries(spec)) {
    const flagName = kebab(name)
    const given = flags.get(flagName) ?? source.env[envName(flagName)]
    if (given === undefined) {
      if (setting.fallback) settings[name] = setting.fallback()
      else errors.push(`--${flagName} (or ${envName(flagName)}) is required: ${setting.help}.`)
      continue
    }
    try {
      settings[name] = setting.parse(given)
    } catch (error) {
      if (!(error instanceof SettingError)) throw error
      const source = flags.has(flagName) ? `--${flagName}` : envName(flagName)
      errors.push(`${source} ${error.message}.`)
    }
  }
  return errors.length > 0 ? { ok: false, errors } : { ok: true, settings: settings as Settings<S> }
}

function readFlags(argv: readonly string[], spec: Readonly<Record<string, Setting<unknown>>>) {
  const [errors, unknown]: [string[], string[]] = [[], []]
  // The first use of parseArgs loads it, 2 ms of every sidecar's start; containers are configured by environment.
  if (argv.length === 0) return { flags: new Map<string, string>(), errors, unknown }
  const byFlag = new Map(Object.entries(spec).map(([name, setting]) => [kebab(name), setting]))
  const options = Object.fromEntries(
    [...byFlag].map(([name, { boolean }]) => [
      name,
      { type: boolean ? ('boolean' as const) : ('string' as const) },
    ]),
  )
  const { tokens } = parseArgs({
    args: [...argv],
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const flags = new Map<string, string>()
  for (const token of tokens) {
    const setting = token.kind === 'option' ? byFlag.get(token.name) : undefined
    if (token.kind !== 'option' || setting === undefined) {
      unknown.push(`${JSON.stringify(argv[token.index])} is not a setting; --help lists them.`)
      continue
    }
    const { name, value = setting.boolean ? 'true' : '', inlineValue } = token
    if (!setting.boolean && !inlineValue && (value === '' || value.startsWith('--'))) {
      errors.push(`--${name} needs a value.`)
      continue
    }
    const earlier = flags.get(name)
    if (earlier !== undefined && !setting.repeatable) errors.push(`--${name} is given twice.`)
    flags.set(name, earlier === undefined ? value : `${earlier},${value}`)
  }
  return { flags, errors, unknown }
}

/**
 * Reads this process's settings, or ends it: `--help` and `--version` print and exit 0, mistakes are printed
 * together on stderr and exit 2.
 */
export function settingsOrExit<S extends Record<string, Setting<unknown>>>(
  title: string,
  spec: S,
  argv: readonly string[] = process.argv.slice(2),
): Settings<S> {
  if (argv.includes('--version')) exitWith(0, VERSION)
  if (argv.includes('--help')) exitWith(0, helpText(title, spec))
  const result = parseSettings(spec, { argv, env: process.env })
  if (!result.ok) exitWith(2, result.errors.map((error) => `${title}: ${error}`).join('\n'))
  return result.settings
}

function exitWith(code: number, message: string): never {
  ;(code === 0 ? process.stdout : process.stderr).write(`${message}\n`)
  process.exit(code)
}

function helpText(title: string, spec: Record<string, Setting<unknown>>): string {
  const lines = Object.entries(spec).map(([name, { help, shownDefault }]) => {
    const flagName = kebab(name)
    return `  --${flagName.padEnd(30)} ${help} (${envName(flagName)}; default: ${shownDefault})`
  })
  return [`${title} ${VERSION}`, '', 'Settings (a flag wins over its environment variable):', ...lines].join(
    '\n',
  )
}
