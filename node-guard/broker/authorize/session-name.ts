import { createHash } from 'node:crypto'

const MAX_LENGTH = 64
const TAIL_HEX = 20 // 80 bits

/**
 * The role session name of a pod: `<namespace>.<pod>`, or `<namespace>.<annotation>`, so that no pod can name itself after
 * another namespace's (a namespace's name has no dot). Where STS's alphabet (`[\w+=,.@-]`) or length (64) forces a change,
 * 80 bits of a hash over namespace, pod and uid keep it unique to the pod.
 *
 * @param wanted the pod's annotation, if any
 */
export function sessionName(
  pod: { readonly namespace: string; readonly name: string; readonly uid: string },
  wanted: string | undefined,
): string {
  return fit(`${pod.namespace}.${wanted || pod.name}`, [pod.namespace, pod.name, pod.uid])
}

/** The role session name that all pods of a node share under `--session-scope=role`. */
export function sharedSessionName(nodeName: string): string {
  return fit(`pod2iam.${nodeName}`, [nodeName])
}

function fit(text: string, identity: readonly string[]): string {
  const legal = text.replace(/[^A-Za-z0-9_+=,.@-]/g, '-')
  if (legal === text && text.length <= MAX_LENGTH) return text
  const hash = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, TAIL_HEX)
  return `${legal.slice(0, MAX_LENGTH - TAIL_HEX - 1)}-${hash}`
}
