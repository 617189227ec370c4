/** The arguments of a gate, as any release of ours writes them. */
import { BROKER_PORT, SIDECAR_HEALTH_PORT, SIDECAR_PORT } from '../../common/addresses.ts'
import type { Container } from '../pod/pod.ts'
import { REDIRECT_MODES, type RedirectMode } from '../settings.ts'
import { type IsLegal, one, PLAIN, PROOFS } from './legal-values.ts'

/** Arguments of the gate that the injector writes; undefined for those without a value. */
const GATE_ARGUMENTS: Readonly<Record<string, IsLegal | undefined>> = {
  '--redirect': one(...REDIRECT_MODES),
  '--proof': one(...PROOFS),
  '--accept-drop': undefined,
  '--sidecar-port': one(String(SIDECAR_PORT)),
  '--broker-port': one(String(BROKER_PORT)),
  '--wait-ready': one(`http://127.0.0.1:${SIDECAR_HEALTH_PORT}/readyz`),
}
const NEEDED_ARGUMENTS = ['--redirect', '--proof', '--wait-ready']
/** Other arguments of this release's gate, which no injector writes: they could turn off the proof. */
const NEVER_WRITTEN_ARGUMENTS: readonly string[] = [
  ...['--proof-timeout', '--proof-interval', '--restart-policy', '--wait-timeout', '--log-level'],
  ...['--metadata-address', '--broker-address'],
]
/** The variables for these arguments: if both are given the argument counts, but an argument may be missing. */
export const GATE_VARIABLES = [...Object.keys(GATE_ARGUMENTS), ...NEVER_WRITTEN_ARGUMENTS].map(
  (name) => `POD2IAM_${name.slice(2).replaceAll('-', '_').toUpperCase()}`,
)

/** Whether these are arguments that a release of ours gives the gate. */
export function isGateCommand(args: readonly string[]): boolean {
  const [command, ...flags] = args
  if (command !== 'redirect') return false
  const given = flags.map((flag) => flag.split('=', 1)[0] ?? '')
  const missing = NEEDED_ARGUMENTS.some((name) => !given.includes(name))
  return !missing && new Set(given).size === given.length && flags.every(isGateArgument)
}

function isGateArgument(flag: string): boolean {
  const [, name, value] = /^(--[a-z][-a-z0-9]{0,62})(?:=(.*))?$/s.exec(flag) ?? []
  if (name === undefined) return false
  if (!Object.hasOwn(GATE_ARGUMENTS, name))
    return !NEVER_WRITTEN_ARGUMENTS.includes(name) && PLAIN(value ?? '')
  const legal = GATE_ARGUMENTS[name]
  return legal === undefined ? value === undefined : value !== undefined && legal(value)
}

/** The redirect mode of a gate. */
export function redirectOf({ args }: Container): RedirectMode | undefined {
  return REDIRECT_MODES.find((mode) => args?.includes(`--redirect=${mode}`))
}
