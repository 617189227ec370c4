/** Kubernetes quantities, as far as container resources need them: CPU in millicores, memory in bytes. */

const MEMORY_UNITS = { '': 1, k: 1e3, M: 1e6, G: 1e9, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 } as const

/** Millicores of `250m`, `1` or `0.5`; undefined if the text is not such a quantity. */
export function cpuMillis(text: string): number | undefined {
  const [, number, unit] = /^(\d{1,6}(?:\.\d{1,3})?)(m?)$/.exec(text) ?? []
  if (number === undefined) return undefined
  // A millicore is the smallest unit: the API refuses `0.5m`.
  if (unit === 'm') return number.includes('.') ? undefined : Number(number)
  return Math.round(Number(number) * 1000)
}

/** Bytes of `64Mi`, `64M` or `67108864`; undefined if the text is not such a quantity. */
export function memoryBytes(text: string): number | undefined {
  const [, number, unit] = /^(\d{1,15})(k|M|G|Ki|Mi|Gi)?$/.exec(text) ?? []
  if (number === undefined) return undefined
  return Number(number) * MEMORY_UNITS[(unit ?? '') as keyof typeof MEMORY_UNITS]
}

export type ResourceName = 'cpu' | 'memory'
export const RESOURCE_NAMES = ['cpu', 'memory'] as const satisfies readonly ResourceName[]

const SUFFIXES: Readonly<Record<string, number>> = {
  ...{ n: 1e-9, u: 1e-6, m: 1e-3, '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18 },
  ...{ Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60 },
}

/**
 * Millicores or bytes of a quantity that others wrote, in any form that the API server accepts (k8s.io/apimachinery/pkg/api/resource);
 * undefined if the value is not a quantity.
 */
export function amountOf(name: ResourceName, value: unknown): number | undefined {
  const number = plainNumber(value)
  // A nano is the smallest unit; further digits are rounding errors of binary fractions.
  return name === 'cpu' && number !== undefined ? Math.round(number * 1e9) / 1e6 : number
}

/** A number without a unit, such as a ratio; a quantity in its own unit. */
export function plainNumber(value: unknown): number | undefined {
  // People write `cpu: 1` in YAML, and the API accepts numbers as quantities.
  const text = typeof value === 'number' ? String(value) : value
  if (typeof text !== 'string' || text.length > 64) return undefined
  const parsed = /^\+?(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i)?)$/.exec(text)
  if (parsed === null) return undefined
  const [, number, exponent, suffix = ''] = parsed
  return exponent === undefined
    ? Number(number) * (SUFFIXES[suffix] ?? Number.NaN)
    : Number(`${number}e${exponent}`)
}

/** Millicores or bytes as a quantity, rounded down: `250m`, `48Mi`. */
export function quantityText(name: ResourceName, amount: number): string {
  const whole = Math.floor(amount)
  if (name === 'cpu') return whole % 1000 === 0 ? String(whole / 1000) : `${whole}m`
  const unit = (['Gi', 'Mi'] as const).find((one) => whole > 0 && whole % MEMORY_UNITS[one] === 0)
  return unit === undefined ? String(whole) : `${whole / MEMORY_UNITS[unit]}${unit}`
}
