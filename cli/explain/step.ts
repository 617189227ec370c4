/** The steps by which a pod gets its credentials. The first one that fails is the one to fix. */

export type Finding =
  | { readonly state: 'ok'; readonly detail: string }
  /** A warning, which does not stop the following steps. */
  | { readonly state: 'warning'; readonly code: string; readonly detail: string; readonly remedy?: string }
  | { readonly state: 'failed'; readonly code: string; readonly detail: string; readonly remedy: string }
  /** This step could not be checked; the following steps still are. */
  | { readonly state: 'not-checked'; readonly detail: string }

export type Step = { readonly id: string; readonly title: string } & Finding

export type Check = {
  /** Stable. */
  readonly id: string
  readonly title: string
  readonly look: () => Finding | Promise<Finding>
}

const BEHIND: Finding = { state: 'not-checked', detail: 'an earlier step fails' }

/** Checks the steps in order until one fails, because each depends on those before it. */
export async function runChecks(checks: readonly Check[]): Promise<Step[]> {
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
export const notChecked = (detail: string): Finding => ({ state: 'not-checked', detail })
export const warning = (code: string, detail: string): Finding => ({ state: 'warning', code, detail })
export const failed = (code: string, detail: string, remedy: string): Finding => ({
  state: 'failed',
  ...{ code, detail, remedy },
})

/** The first step that fails. */
export function firstFailed(steps: readonly Step[]): (Step & { readonly state: 'failed' }) | undefined {
  return steps.find((step): step is Step & { state: 'failed' } => step.state === 'failed')
}
