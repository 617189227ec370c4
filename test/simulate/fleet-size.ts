/** What a simulated fleet consists of. */
export type Fleet = {
  readonly nodes: number
  readonly podsPerNode: number
  /** That opted in: what every broker watches. */
  readonly namespaces: number
  /** STS calls per second that the account has left for this cluster in this Region. */
  readonly stsPerSecond: number
  /** `--sts-qps`, per node. */
  readonly stsQps: number
  /** `--session-duration` */
  readonly sessionSeconds: number
  /** Life of the pods' projected tokens. */
  readonly tokenSeconds: number
  readonly seed: number
  /** One node in so many is simulated, under that share of the quota; figures are of the whole fleet all the same. */
  readonly share: number
}
