/** A pod of the cluster: the steps from its annotation to the credentials in its sidecar. */
import type { V1Pod } from '@kubernetes/client-node'
import type { Cluster } from '../cluster/cluster.ts'
import { brokerOf, type Installation } from '../cluster/installation.ts'
import { plain } from '../cluster/plain.ts'
import {
  type InjectionSettings,
  isObject,
  type JsonObject,
  type Namespace,
  settingsOfFlags,
} from '../product/injector.ts'
import { admission } from './admission.ts'
import { blockFinding, credentialsFinding, eventsOn } from './credentials.ts'
import { entitledFinding } from './entitled.ts'
import type { Explanation } from './explanation.ts'
import { injectedFinding } from './injected.ts'
import { guardOf, nodeFinding } from './node.ts'
import type { Subject } from './remedies.ts'
import { onNode, sidecarRuns } from './start.ts'
import { type Check, failed, ok, unseen, walk } from './step.ts'

export const NO_INJECTOR =
  'the injector of this cluster was not found, so the admission steps assume its default settings'

export async function explainLive(
  cluster: Cluster,
  installation: Installation,
  typed: V1Pod,
): Promise<Explanation> {
  const { namespace = '', name = '' } = typed.metadata ?? {}
  const settings = installation.injection ?? defaults()
  const subject = { namespace, pod: name, roleKey: settings.roleKey }
  const raw = plain(typed)
  const own = await readNamespace(cluster, namespace)
  const { checks, warnings } = admissionChecks(raw, own, settings, installation.untouched, subject)
  const steps = await walk([
    ...checks,
    { id: 'injected', title: 'has its sidecar', look: () => injectedFinding(raw, subject) },
    ...afterAdmission(cluster, installation, { typed, raw, own, settings, subject }),
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
}

function afterAdmission(cluster: Cluster, installation: Installation, parts: Parts): Check[] {
  const { typed, raw, own, settings, subject } = parts
  const node = typed.spec?.nodeName
  const phase = typed.status?.phase
  if (phase === 'Succeeded' || phase === 'Failed')
    return [{ id: 'ended', title: 'has ended', look: () => ended(phase) }]
  const guard = guardOf(installation, node)
  const broker = guard === undefined ? undefined : brokerOf(guard)
  return [
    { id: 'scheduled', title: 'has a node', look: () => onNode(typed) },
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
          ? unseen('you may not read its namespace')
          : entitledFinding(raw, own, broker, settings.policy.base, subject),
    },
    { id: 'sidecar', title: 'sidecar runs', look: () => sidecarRuns(typed) },
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
  pod: JsonObject,
  own: JsonObject | undefined,
  settings: InjectionSettings,
  untouched: readonly string[],
  subject: Subject,
): { readonly checks: readonly Check[]; readonly warnings: readonly string[] } {
  if (own === undefined) {
    const look = () => unseen(`you may not read namespace ${subject.namespace}`)
    return { checks: [{ id: 'namespace', title: 'namespace opted in', look }], warnings: [] }
  }
  const { checks, decision } = admission({
    ...{ pod, settings, untouched, subject },
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
  return answer.kind === 'found' ? plain(answer.value) : undefined
}

export function defaults(): InjectionSettings {
  const read = settingsOfFlags([])
  if (!read.ok) throw new Error(read.problem)
  return read.settings
}
