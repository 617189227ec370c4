/** The pod's namespace as it is now: everything a decision reads of it. */
export type Namespace = {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}
