/** What a simulated fleet consists of. */
export type Fleet = {
  readonly nodes: number
  readonly podsPerNode: number
  /** Namespaces that opted in: what every broker watches. */
  readonly namespaces: number
  /** STS calls per second that the account has left for this cluster in this Region. */
  readonly stsPerSecond: number
  /** `--sts-qps`, per node. */
  readonly stsQps: number
  /** `--session-duration` */
  readonly sessionSeconds: number
  /** Lifetime of the pods' projected tokens, seconds. */
  readonly tokenSeconds: number
  readonly seed: number
  /** One node in this number is simulated, with that share of the quota; the figures are those of the whole fleet. */
  readonly share: number
}
