/** Kubernetes quantities, as far as container resources need them: CPU in millicores, memory in bytes. */

const MEMORY_UNITS = { '': 1, k: 1e3, M: 1e6, G: 1e9, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 } as const

/** Millicores of `250m`, `1` or `0.5`; undefined where it is no such quantity. */
export function cpuMillis(text: string): number | undefined {
  const [, number, unit] = /^(\d{1,6}(?:\.\d{1,3})?)(m?)$/.exec(text) ?? []
  if (number === undefined) return undefined
  // Below a millicore there is nothing: the API refuses `0.5m`.
  if (unit === 'm') return number.includes('.') ? undefined : Number(number)
  return Math.round(Number(number) * 1000)
}

/** Bytes of `64Mi`, `64M` or `67108864`; undefined where it is no such quantity. */
export function memoryBytes(text: string): number | undefined {
  const [, number, unit] = /^(\d{1,15})(k|M|G|Ki|Mi|Gi)?$/.exec(text) ?? []
  if (number === undefined) return undefined
  return Number(number) * MEMORY_UNITS[(unit ?? '') as keyof typeof MEMORY_UNITS]
}
