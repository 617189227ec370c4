/**
 * How long a sidecar's projected token lives (docs/decisions/0085). The kubelet renews it at four fifths of its life, and at the
 * latest when it is a day old. The time that is then left is how long the API server may be unavailable before a pod can no longer
 * prove its identity.
 */
export const TOKEN_LIFETIME = {
  /** Kubernetes allows no less. */
  least: 600,
  usual: 86_400,
  /** With this a day is left, which is how long the broker trusts the API server's last keys (`authenticate/keys.ts`). */
  most: 172_800,
} as const

/** Whether any release and setting can give a token this `expirationSeconds`. */
export function isTokenLifetime(seconds: unknown): seconds is number {
  return (
    typeof seconds === 'number' &&
    Number.isInteger(seconds) &&
    seconds >= TOKEN_LIFETIME.least &&
    seconds <= TOKEN_LIFETIME.most
  )
}
