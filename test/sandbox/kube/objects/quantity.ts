/** Resource quantities (k8s.io/apimachinery/pkg/api/resource). */

const SUFFIXES: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
}

/** `500m` → 0.5, `48Mi` → 50331648; undefined when it is no quantity. */
export function parseQuantity(value: unknown): number | undefined {
  const parsed = /^([+-]?\d+(?:\.\d*)?|[+-]?\.\d+)(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)$/.exec(
    String(value),
  )
  if (parsed === null) return undefined
  const [, number, exponent, suffix = ''] = parsed
  if (exponent !== undefined) return Number(`${number}${exponent}`)
  return Number(number) * (SUFFIXES[suffix] ?? Number.NaN)
}
