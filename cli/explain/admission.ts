/** What admission decides about a pod, as steps: the injector's own decision, made once. */
import { injectionMode, KEYS } from '../../common/keys.ts'
import {
  accountName,
  accountRole,
  type Decision,
  decide,
  type InjectionSettings,
  isObject,
  type JsonObject,
  type Namespace,
  type Reason,
  type ServiceAccount,
  sentence,
} from '../product/injector.ts'
import { remedyFor, type Subject } from './remedies.ts'
import { type Check, type Finding, failed, ok } from './step.ts'

export type Admission = { readonly decision: Decision; readonly checks: readonly Check[] }

export type AdmissionInput = {
  readonly pod: JsonObject
  readonly namespace: Namespace
  readonly settings: InjectionSettings
  /** The pod's service account, if it counts. */
  readonly account: ServiceAccount | undefined
  /** Namespaces that the injector ignores. */
  readonly untouched: readonly string[]
  readonly subject: Subject
}

/** In the order in which the decision is made, so that what is before the reason holds. */
export const STEPS = [
  {
    id: 'asks',
    title: 'asks for a role',
    reasons: ['opted-out', 'mirror-pod', 'not-annotated', 'served-by-eks'],
  },
  { id: 'namespace', title: 'namespace opted in', reasons: ['namespace-not-enabled', 'never-injected'] },
  {
    id: 'pod',
    title: 'can have a sidecar',
    reasons: [
      ...['malformed-pod', 'host-network', 'windows', 'fargate', 'port-clash'],
      ...['pod-too-large', 'pod-resources-too-small', 'reserved-container', 'reserved-volume'],
    ],
  },
  { id: 'annotations', title: 'annotations valid', reasons: ['invalid-annotation', 'invalid-role'] },
  { id: 'role', title: 'role allowed', reasons: ['role-not-allowed'] },
] as const satisfies readonly { id: string; title: string; reasons: readonly Reason[] }[]

/** Judges the pod as the injector does. */
export function admission(input: AdmissionInput): Admission {
  const { pod, namespace, settings, account, untouched, subject } = input
  const decision = decide({ isRead: true, object: pod }, namespace, settings, account)
  const asks = asksFor(pod, namespace, settings, account)
  const reason = reasonOf(decision, asks, untouched.includes(namespace.name))
  const why = (code: Reason): Finding => {
    const detail = settings.serviceAccountKey === undefined ? '' : accountName(account)
    const facts = { roleKey: settings.roleKey, namespace: namespace.name, detail }
    const said = decision.kind === 'deny' && decision.reason === code ? decision.sentence : undefined
    return failed(code, said ?? sentence(code, facts), remedyFor(code, subject))
  }
  const holds: Readonly<Record<(typeof STEPS)[number]['id'], string>> = {
    asks: asks ?? '',
    namespace: `namespace ${namespace.name} has ${KEYS.injection}=${namespace.labels[KEYS.injection]}`,
    pod: 'nothing in it conflicts with the sidecar',
    annotations: 'the injector accepts all of them',
    role: decision.kind === 'patch' ? `namespace ${namespace.name} may use ${decision.role}` : '',
  }
  const checks = STEPS.map(({ id, title, reasons }) => ({
    id,
    title,
    look: () =>
      reason !== undefined && (reasons as readonly Reason[]).includes(reason) ? why(reason) : ok(holds[id]),
  }))
  return { decision, checks }
}

/** Why the pod gets no sidecar; undefined if it gets one. */
function reasonOf(decision: Decision, asks: string | undefined, isUntouched: boolean): Reason | undefined {
  if (decision.kind === 'patch') return isUntouched ? 'never-injected' : undefined
  // It does not matter that a namespace has not opted in if the pod asks for nothing.
  if (decision.reason === 'namespace-not-enabled' && asks === undefined) return 'not-annotated'
  if (decision.reason === 'namespace-not-enabled' && isUntouched) return 'never-injected'
  return decision.reason
}

/** How the pod asks for credentials, in words; undefined if it does not. */
function asksFor(
  pod: JsonObject,
  { name, labels, annotations: ofNamespace }: Namespace,
  settings: Pick<InjectionSettings, 'roleKey' | 'defaultRole' | 'serviceAccountKey'>,
  account?: ServiceAccount,
): string | undefined {
  const { roleKey, defaultRole, serviceAccountKey } = settings
  const metadata = isObject(pod.metadata) ? pod.metadata : {}
  const annotations = isObject(metadata.annotations) ? metadata.annotations : {}
  if (annotations[KEYS.inject] === 'metadata')
    return `${KEYS.inject}: metadata, so it gets only Region and placement`
  if (annotations[roleKey] !== undefined) return `annotation ${roleKey} names ${annotations[roleKey]}`
  const ofAccount = accountRole(account, serviceAccountKey)
  if (ofAccount !== undefined)
    return `annotation ${serviceAccountKey} of ${accountName(account)} names ${ofAccount}`
  if (injectionMode(labels) !== 'all') return undefined
  const role = ofNamespace[KEYS.defaultRole] ?? defaultRole
  return role === undefined
    ? `every pod of namespace ${name} does, and there is no default role for it`
    : `every pod of namespace ${name} does; its default role is ${role}`
}
