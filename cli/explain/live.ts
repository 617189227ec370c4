/** A pod of the cluster: the steps from its annotation to the credentials in its sidecar. */
import type { V1Pod } from '@kubernetes/client-node'
import { accountNameOf, readAccount } from '../cluster/accounts.ts'
import type { Answer } from '../cluster/api-request.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { brokerOf, type Installation } from '../cluster/installation.ts'
import { plainObject } from '../cluster/plain-object.ts'
import { type AccountRecord, accountRecord, podRecord } from '../product/broker.ts'
import {
  type InjectionSettings,
  isObject,
  type JsonObject,
  type Namespace,
  type ServiceAccount,
  settingsOfFlags,
} from '../product/injector.ts'
import { admission } from './admission.ts'
import { blockFinding, credentialsFinding, eventsOn } from './credentials.ts'
import { entitlementFinding } from './entitlement.ts'
import type { Explanation } from './explanation.ts'
import { injectedFinding } from './injected.ts'
import { guardOf, nodeFinding } from './node.ts'
import type { Subject } from './remedies.ts'
import { scheduledFinding, sidecarFinding } from './start.ts'
import { type Check, failed, notChecked, ok, runChecks } from './step.ts'

export const NO_INJECTOR =
  'the injector of this cluster was not found, so the admission steps assume its default settings'

export async function explainLive(
  cluster: Cluster,
  installation: Installation,
  typed: V1Pod,
): Promise<Explanation> {
  const { namespace = '', name = '' } = typed.metadata ?? {}
  const settings = installation.injection ?? defaultSettings()
  const subject = { namespace, pod: name, roleKey: settings.roleKey }
  const raw = plainObject(typed)
  const own = await readNamespace(cluster, namespace)
  const answer = await accountAnswer(cluster, installation, namespace, raw)
  const account = answer.kind === 'found' ? answer.value : frozenAccount(raw, settings)
  const parts = { typed, raw, own, settings, subject, account, record: recordOf(answer) }
  const { checks, warnings } = admissionChecks(parts, installation.untouched)
  const steps = await runChecks([
    ...checks,
    { id: 'injected', title: 'has its sidecar', look: () => injectedFinding(raw, subject) },
    ...afterAdmission(cluster, installation, parts),
  ])
  return {
    kind: 'Pod',
    namespace,
    name,
    where: typed.spec?.nodeName ? `node ${typed.spec.nodeName}` : undefined,
    steps,
    warnings,
    notes: installation.injection === undefined ? [NO_INJECTOR] : [],
  }
}

type Parts = {
  readonly typed: V1Pod
  readonly raw: JsonObject
  readonly own: JsonObject | undefined
  readonly settings: InjectionSettings
  readonly subject: Subject
  readonly account: ServiceAccount | undefined
  /** The same as the broker reads it; undefined if it may not be read. */
  readonly record: AccountRecord | undefined
}

/** The pod's service account, read only if roles may come from accounts. */
export async function accountAnswer(
  cluster: Cluster,
  { injection, guards }: Pick<Installation, 'injection' | 'guards'>,
  namespace: string,
  pod: JsonObject,
): Promise<Answer<ServiceAccount>> {
  const mayNameRoles =
    injection === undefined ||
    injection.serviceAccountKey !== undefined ||
    guards.some((guard) => brokerOf(guard)?.serviceAccountRoles)
  if (!mayNameRoles) return { kind: 'absent' }
  return readAccount(cluster, namespace, accountNameOf(pod))
}

function recordOf(answer: Answer<ServiceAccount>): AccountRecord | undefined {
  if (answer.kind === 'forbidden') return undefined
  return accountRecord(answer.kind === 'found' ? { metadata: answer.value } : undefined)
}

/** Used if the account cannot be read or no longer exists: the role that it named when the pod was created. */
function frozenAccount(pod: JsonObject, settings: InjectionSettings): ServiceAccount | undefined {
  const { identity, namespace, serviceAccount } = podRecord(pod, settings.roleKey) ?? {}
  const { serviceAccountKey: key } = settings
  if (identity?.source !== 'service-account' || identity.role === undefined || key === undefined)
    return undefined
  return {
    namespace: namespace ?? '',
    name: serviceAccount ?? '',
    annotations: { [key]: identity.role },
  }
}

function afterAdmission(cluster: Cluster, installation: Installation, parts: Parts): Check[] {
  const { typed, raw, own, settings, subject, record } = parts
  const node = typed.spec?.nodeName
  const phase = typed.status?.phase
  if (phase === 'Succeeded' || phase === 'Failed')
    return [{ id: 'ended', title: 'has ended', look: () => ended(phase) }]
  const guard = guardOf(installation, node)
  const broker = guard === undefined ? undefined : brokerOf(guard)
  return [
    { id: 'scheduled', title: 'has a node', look: () => scheduledFinding(typed) },
    {
      id: 'node',
      title: 'node guarded',
      look: () => nodeFinding(cluster, installation, node ?? ''),
    },
    {
      id: 'entitled',
      title: 'broker allows it',
      look: () =>
        own === undefined
          ? notChecked('you may not read its namespace')
          : entitlementFinding(raw, own, broker, record, settings.policy.base, subject),
    },
    { id: 'sidecar', title: 'sidecar runs', look: () => sidecarFinding(typed) },
    { id: 'block', title: 'block proven', look: () => blockFinding(cluster, typed) },
    {
      id: 'credentials',
      title: 'has credentials',
      look: async () => credentialsFinding(cluster, typed, subject, await eventsOn(cluster, typed)),
    },
  ]
}

const ended = (phase: 'Succeeded' | 'Failed') =>
  phase === 'Succeeded'
    ? ok('the pod has completed; pods that have ended get no credentials')
    : failed(
        'pod-failed',
        'the pod has failed; pods that have ended get no credentials',
        'kubectl describe pod shows why it failed',
      )

function admissionChecks(
  { raw: pod, own, settings, subject, account }: Parts,
  untouched: readonly string[],
): { readonly checks: readonly Check[]; readonly warnings: readonly string[] } {
  if (own === undefined) {
    const look = () => notChecked(`you may not read namespace ${subject.namespace}`)
    return { checks: [{ id: 'namespace', title: 'namespace opted in', look }], warnings: [] }
  }
  const { checks, decision } = admission({
    ...{ pod, settings, account, untouched, subject },
    namespace: namespaceOf(own),
  })
  return { checks, warnings: decision.kind === 'deny' ? [] : decision.warnings }
}

/** The same form in which the injector reads a namespace. */
export function namespaceOf(object: JsonObject): Namespace {
  const metadata = isObject(object.metadata) ? object.metadata : {}
  const texts = (value: unknown) => (isObject(value) ? (value as Record<string, string>) : {})
  return {
    name: String(metadata.name),
    labels: texts(metadata.labels),
    annotations: texts(metadata.annotations),
  }
}

/** The namespace as the API server sends it; undefined if it may not be read. */
export async function readNamespace({ ask, core }: Cluster, name: string): Promise<JsonObject | undefined> {
  const answer = await ask({ verb: 'get', resource: 'namespaces', namespace: name }, (options) =>
    core.readNamespace({ name }, options),
  )
  return answer.kind === 'found' ? plainObject(answer.value) : undefined
}

export function defaultSettings(): InjectionSettings {
  const read = settingsOfFlags([])
  if (!read.ok) throw new Error(read.detail)
  return read.settings
}
