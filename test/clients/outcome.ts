/** The result of a client in every mode, in the words of docs/clients.md. */
import type { Seen } from './inside.ts'
import type { ModeName } from './modes.ts'
import type { Program } from './programs.ts'

export type Outcome = string

/** The credentials and the metadata that the stand-in for the broker gives. */
export type Expected = Readonly<Record<Program['proof'], string>>

/** `v1`, `v2` or `container`: the way in which the client got them; `no`: it did not get them. Throws if it got something else. */
export function outcomeOf(
  { printed, signed, imds, output }: Seen,
  proof: Program['proof'],
  expected: Expected,
): Outcome {
  const found = new Set([...signed, ...(printed[proof] === undefined ? [] : [printed[proof]])])
  if (found.size === 0) return 'no'
  if (found.size > 1 || !found.has(expected[proof]))
    throw new Error(`not what it should get: ${[...found]}: ${output}`)
  if (imds.length === 0) throw new Error(`it got what nobody gave it: ${output}`)
  return imds.join(', ')
}

type All = Readonly<Record<ModeName, { readonly outcome: Outcome; readonly proxied: boolean }>>

/** The two cells about how the client treats a proxy: with the redirect, and in mode `env`. */
export function proxyCells(all: All): [redirected: string, env: string] {
  const env = all.env.outcome === 'no' ? '–' : all.envProxy.proxied ? 'asked' : 'not asked'
  if (!all.proxy.proxied) return ['not asked', env]
  if (all.excepted.outcome === 'no') return ['asked whatever `NO_PROXY` says', env]
  return [all.exceptedNetwork.outcome === 'no' ? 'asked; no CIDRs' : 'asked', env]
}
