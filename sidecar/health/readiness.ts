/** When the gate may open. */
import type { Readiness } from '../../common/health.ts'
import type { View } from '../credentials/store.ts'

export type ReadinessInputs = {
  readonly selfTestPassed: boolean
  readonly startupGate: 'on' | 'off'
  readonly view: View
  /** Whether the broker was asked for the metadata snapshot once, with whatever result. */
  readonly snapshotAsked: boolean
  /** Whether the process has fetched from itself once (warm-up.ts). */
  readonly warm: boolean
}

/**
 * Ready when the redirect is proven and, unless the startup gate is off, there is something definite to serve:
 * living credentials, or the broker's word that the pod has no role. A refusal keeps the gate closed.
 */
export function readiness({
  selfTestPassed,
  startupGate,
  view,
  snapshotAsked,
  warm,
}: ReadinessInputs): Readiness {
  if (!selfTestPassed) return not('self-test-pending', SELF_TEST)
  if (startupGate === 'off') return READY
  if (view.kind === 'refused' || view.kind === 'unavailable') return not(view.code, view.detail)
  // Region and placement are asked for first; one try is waited for, not its success.
  if (!snapshotAsked) return not('metadata-pending', 'The instance metadata has not been asked for yet.')
  return warm
    ? READY
    : not('warming-up', 'The sidecar is trying its own answers out; that takes milliseconds.')
}

const READY: Readiness = { ready: true, code: 'ready' }
const SELF_TEST =
  "http://169.254.169.254/ does not lead to this process yet: the pod's redirect is not loaded (pod2iam-gate does that), or another program took it."

function not(code: string, detail: string): Readiness {
  return { ready: false, code, detail }
}
