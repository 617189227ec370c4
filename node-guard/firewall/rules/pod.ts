/** What the pod's rules depend on, whichever backend makes them. */

export type RedirectRuleset = {
  readonly metadata: readonly string[]
  readonly broker: readonly string[]
  readonly brokerPort: number
  readonly sidecarPort: number
}

/** What the pod's rules are for: see `proofRuleset` and `redirectRuleset`. */
export type Purpose = 'proof' | 'redirect'
