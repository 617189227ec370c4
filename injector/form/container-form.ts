/**
 * Recognises a sidecar or gate as ours: by the form that every supported release gives it, whatever its settings. In each rolling
 * upgrade replicas with different settings or releases serve at the same time, so none may compare a container with what it would
 * write itself (docs/decisions/0099).
 *
 * A form defines which variables and arguments an image of ours may get, with which values. Anything that this release does not know
 * but that has our own prefix comes from a later release: only a replica of that release writes it, because the mutating webhook
 * has seen every pod before and has corrected each container of ours (`patch/repair.ts`).
 */
import { WAIT_STARTED } from '../../common/addresses.ts'
import { GATE_CONTAINER, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { quote } from '../../common/role.ts'
import { blank, isObject, type Json, sameJson } from '../json.ts'
import type { Container } from '../pod/pod.ts'
import type { Kind } from '../pod/reserved.ts'
import { isGateCommand } from './gate-arguments.ts'

/**
 * Fields that a container of ours may have: those that we set, and defaults of the API server. Any other field (`envFrom`,
 * `command`, probes, ports, …, and future ones of Kubernetes) could run something else than what image and args say, or change its
 * input. In the sidecar `lifecycle` is allowed as the start hook only ({@link hasStartHook}).
 */
const FIELDS = new Set([
  ...['name', 'image', 'imagePullPolicy', 'args', 'restartPolicy', 'env', 'volumeMounts'],
  ...['resources', 'resizePolicy', 'securityContext', 'terminationMessagePath', 'terminationMessagePolicy'],
])

/**
 * For pods without a gate: the kubelet starts no later container before this hook has returned. The program waits for the file that a
 * ready sidecar creates; it is a shell script and not a second Node.js process.
 */
export const START_HOOK = { postStart: { exec: { command: [WAIT_STARTED] } } } as const

/** The first part of a container that no release of ours writes, among its fields and arguments. */
export function foreignField(kind: Kind, container: Container): string | undefined {
  const isKnown = (key: string) =>
    FIELDS.has(key) || (key === 'lifecycle' && kind === SIDECAR_CONTAINER && hasStartHook(container))
  const field = Object.keys(container).find((key) => !blank(container[key]) && !isKnown(key))
  if (field !== undefined) return quote(field)
  if (kind === GATE_CONTAINER && !blank(container.restartPolicy)) return 'restartPolicy'
  const args = container.args ?? []
  if (kind === GATE_CONTAINER) return isGateCommand(args) ? undefined : 'args'
  return args.length === 0 ? undefined : 'args'
}

/** lifecycle, postStart, exec. */
const HOOK_DEPTH = 3

/** Whether a sidecar holds back the pod's own containers until it is ready: its `lifecycle` is exactly our start hook. */
export function hasStartHook({ lifecycle }: Container): boolean {
  return sameJson(withoutBlanks(lifecycle, HOOK_DEPTH), START_HOOK)
}

function withoutBlanks(value: Json | undefined, depth: number): Json | undefined {
  if (depth === 0 || !isObject(value)) return value
  const entries = Object.entries(value).map(([key, one]) => [key, withoutBlanks(one, depth - 1)] as const)
  return Object.fromEntries(entries.filter(([, one]) => !blank(one)))
}
