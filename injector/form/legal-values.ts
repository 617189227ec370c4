/** Which values a variable or an argument of a container of ours may have. */

export type IsLegal = (value: string) => boolean

export const one =
  (...values: readonly string[]): IsLegal =>
  (value) =>
    values.includes(value)
/** For variables and arguments of later releases: text that the kubelet does not expand. */
export const PLAIN: IsLegal = (value) => value.length <= 4096 && !value.includes('$(')

/** How the block may be proven, by the gate or the sidecar; no release writes `off`. */
export const PROOFS = ['enforce', 'report'] as const
