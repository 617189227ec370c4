/** The current state of the pod's namespace: everything that a decision reads from it. */
export type Namespace = {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}
