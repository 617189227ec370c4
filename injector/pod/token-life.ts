/**
 * How long a sidecar's projected token lives (docs/decisions/0085). The kubelet renews it at four fifths of its life, and at the
 * latest when it is a day old; what is left then is how long an outage of the API server may last before a pod can prove no
 * longer who it is.
 */
export const TOKEN_LIFE = {
  /** Kubernetes allows no less. */
  least: 600,
  usual: 86_400,
  /** From here on a day is left, as long as the broker believes the API server's keys (`authenticate/keys.ts`). */
  most: 172_800,
} as const

/** Whether a token of ours can have this life: other releases and settings had others. Takes `expirationSeconds`. */
export function isTokenLife(seconds: unknown): seconds is number {
  return (
    typeof seconds === 'number' &&
    Number.isInteger(seconds) &&
    seconds >= TOKEN_LIFE.least &&
    seconds <= TOKEN_LIFE.most
  )
}
