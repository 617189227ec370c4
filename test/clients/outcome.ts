/** What came of a client's run in every mode, in the words of docs/clients.md. */
import type { Seen } from './inside.ts'
import type { ModeName } from './modes.ts'
import type { Program } from './programs.ts'

export type Outcome = string

/** Of the credentials and the metadata that the stand-in for the broker gives. */
export type Expected = Readonly<Record<Program['proof'], string>>

/** `v1`, `v2` or `container`: by which it got them. `no`: it did not. Whoever gets something else is a failure of ours. */
export function outcomeOf(
  { told, signed, imds, output }: Seen,
  proof: Program['proof'],
  expected: Expected,
): Outcome {
  const found = new Set([...signed, ...(told[proof] === undefined ? [] : [told[proof]])])
  if (found.size === 0) return 'no'
  if (found.size > 1 || !found.has(expected[proof]))
    throw new Error(`not what it should get: ${[...found]}: ${output}`)
  if (imds.length === 0) throw new Error(`it got what nobody gave it: ${output}`)
  return imds.join(', ')
}

type All = Readonly<Record<ModeName, { readonly outcome: Outcome; readonly proxied: boolean }>>

/** The two cells of how it treats a proxy: with the redirect, and in mode `env`. */
export function proxyCells(all: All): [redirected: string, env: string] {
  const env = all.env.outcome === 'no' ? '–' : all.envProxy.proxied ? 'asked' : 'not asked'
  if (!all.proxy.proxied) return ['not asked', env]
  if (all.excepted.outcome === 'no') return ['asked whatever `NO_PROXY` says', env]
  return [all.exceptedNetwork.outcome === 'no' ? 'asked; no CIDRs' : 'asked', env]
}
