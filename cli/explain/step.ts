/** The way of a pod's credentials as steps, of which the first that fails is what somebody has to do something about. */

export type Finding =
  | { readonly state: 'ok'; readonly detail: string }
  /** Something to know, which stops nothing. */
  | { readonly state: 'warning'; readonly code: string; readonly detail: string; readonly remedy?: string }
  | { readonly state: 'failed'; readonly code: string; readonly detail: string; readonly remedy: string }
  /** It could not be looked at; the steps behind it can. */
  | { readonly state: 'not-checked'; readonly detail: string }

export type Step = { readonly id: string; readonly title: string } & Finding

export type Check = {
  /** Stable. */
  readonly id: string
  readonly title: string
  readonly look: () => Finding | Promise<Finding>
}

const BEHIND: Finding = { state: 'not-checked', detail: 'a step before it fails' }

/** Looks at one after the other, until one fails: what comes behind it depends on it. */
export async function walk(checks: readonly Check[]): Promise<Step[]> {
  const steps: Step[] = []
  let isOver = false
  for (const { id, title, look } of checks) {
    const finding: Finding = isOver ? BEHIND : await look()
    isOver ||= finding.state === 'failed'
    steps.push({ id, title, ...finding })
  }
  return steps
}

export const ok = (detail: string): Finding => ({ state: 'ok', detail })
export const unseen = (detail: string): Finding => ({ state: 'not-checked', detail })
export const warning = (code: string, detail: string): Finding => ({ state: 'warning', code, detail })
export const failed = (code: string, detail: string, remedy: string): Finding => ({
  state: 'failed',
  ...{ code, detail, remedy },
})

/** The first step that fails. */
export function firstFailed(steps: readonly Step[]): (Step & { readonly state: 'failed' }) | undefined {
  return steps.find((step): step is Step & { state: 'failed' } => step.state === 'failed')
}
