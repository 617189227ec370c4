/** Decides when the sidecar is ready, so that the gate may open. */
import type { Readiness } from '../../common/health.ts'
import type { View } from '../credentials/store.ts'

type ReadinessInputs = {
  readonly selfTestPassed: boolean
  /** Whether the block is proven, or the gate's to prove (start/block.ts). */
  readonly blockPassed: boolean
  /** What the proof saw last, where it has not passed. */
  readonly blockReason: string | undefined
  /** Why the secret of the container credentials is not written; undefined where it is, or where there is none. */
  readonly secretProblem: string | undefined
  readonly startupGate: 'on' | 'off'
  readonly view: View
  /** Whether the broker was asked for the metadata snapshot once, with whatever result. */
  readonly snapshotAsked: boolean
  /** Whether the process has fetched from itself once (warm-up.ts). */
  readonly warm: boolean
}

/**
 * Ready when redirect and block are proven and, unless the startup gate is off, there is something definite to serve:
 * valid credentials, or the broker's answer that the pod has no role. A refusal keeps the gate closed.
 */
export function readiness({
  selfTestPassed,
  blockPassed,
  blockReason,
  secretProblem,
  startupGate,
  view,
  snapshotAsked,
  warm,
}: ReadinessInputs): Readiness {
  if (!selfTestPassed) return not('self-test-pending', SELF_TEST)
  if (!blockPassed) return not('block-pending', blockReason ?? BLOCK)
  if (secretProblem !== undefined) return not('container-token-pending', secretProblem)
  if (startupGate === 'off') return READY
  if (view.kind === 'refused' || view.kind === 'unavailable') return not(view.code, view.detail)
  // Region and placement are asked for first; one try is waited for, not its success.
  if (!snapshotAsked) return not('metadata-pending', 'The instance metadata has not been asked for yet.')
  return warm ? READY : not('warming-up', 'The sidecar is testing its own answers, which takes milliseconds.')
}

const READY: Readiness = { ready: true, code: 'ready' }
const SELF_TEST =
  "http://169.254.169.254/ does not lead to this process yet: the pod's redirect is not loaded (pod2iam-gate does that), or another program took it."

const BLOCK = 'That the real metadata endpoint refuses this pod has not been proven yet.'

function not(code: string, detail: string): Readiness {
  return { ready: false, code, detail }
}
