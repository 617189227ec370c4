/** Whether the installation works. */
import { X509Certificate } from 'node:crypto'
import type { V1Pod } from '@kubernetes/client-node'
import { foundIn } from '../cluster/api-request.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { getFrom } from '../cluster/exec.ts'
import { brokerOf, type Installation } from '../cluster/installation.ts'
import { lastError, statusOf } from '../explain/start.ts'
import { type Check, type Finding, failed, notChecked, ok, warning } from '../explain/step.ts'
import type { Nodes } from '../status/nodes.ts'
import { skewOf, type Versions } from '../status/versions.ts'
import type { Holder } from '../who/holders.ts'
import { guards, imds, leftovers, others } from './node-items.ts'

const PRODUCT = 'app.kubernetes.io/name=pod2iam'
const HEALTH_MS = 8000
const SOON_MS = 7 * 24 * 60 * 60 * 1000

export type Health = {
  readonly nodes: Nodes
  readonly versions: Versions
  /** Undefined if you may not list pods. */
  readonly holders: readonly Holder[] | undefined
}

export function healthChecks(
  cluster: Cluster,
  installation: Installation,
  { nodes, versions, holders }: Health,
  now: number,
): Check[] {
  return [
    { id: 'injector', title: 'injector', look: () => injector(cluster, installation) },
    { id: 'webhooks', title: 'webhooks', look: () => webhooks(cluster, now) },
    { id: 'policies', title: 'admission policies', look: () => policies(cluster) },
    { id: 'guards', title: 'node guards', look: () => guards(nodes) },
    { id: 'settings', title: 'settings agree', look: () => settings(installation) },
    { id: 'imds', title: 'IMDSv2, hop limit', look: () => imds(nodes) },
    { id: 'leftovers', title: 'leftover rules', look: () => leftovers(nodes) },
    { id: 'warnings', title: 'warnings of guards', look: () => others(nodes) },
    { id: 'versions', title: 'releases', look: () => releases(versions) },
    { id: 'pods', title: 'pods', look: () => pods(holders) },
  ]
}

const isReady = ({ status }: V1Pod) =>
  status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true

async function injector(cluster: Cluster, { injectors }: Installation): Promise<Finding> {
  const ready = injectors.filter(isReady)
  const [first] = injectors
  if (first === undefined)
    return failed(
      'injector-missing',
      'there is no injector, so pods of opted-in namespaces are refused or get no sidecar',
      'run helm upgrade --install pod2iam, and look at the Deployment of the injector',
    )
  if (ready.length === 0) {
    const { namespace = '', name = '' } = first.metadata ?? {}
    const why = lastError(statusOf(first, 'injector')) ?? (await readiness(cluster, first))
    return failed(
      'injector-not-ready',
      `none of ${injectors.length} injectors is ready${why === undefined ? '' : `: ${why}`}`,
      `kubectl -n ${namespace} logs ${name}`,
    )
  }
  if (ready.length === 1)
    return warning(
      'injector-single',
      'only one injector is ready: while it is down, pods of opted-in namespaces cannot be created; set injector.replicas=2',
    )
  return ok(`${ready.length} are ready`)
}

async function readiness(cluster: Cluster, pod: V1Pod): Promise<string | undefined> {
  const { namespace = '', name = '' } = pod.metadata ?? {}
  const args = pod.spec?.containers.find((one) => one.name === 'injector')?.args ?? []
  const port = Number(args.find((one) => one.startsWith('--health-port='))?.split('=')[1] ?? 8080)
  const answer = await getFrom(cluster, { namespace, name }, port, '/readyz', HEALTH_MS)
  if (answer.kind !== 'reached') return undefined
  try {
    const { code, detail } = JSON.parse(answer.value)
    return detail ?? code
  } catch {
    return undefined
  }
}

async function webhooks({ askAll, admission }: Cluster, now: number): Promise<Finding> {
  const labelSelector = PRODUCT
  const resource = 'mutatingwebhookconfigurations.admissionregistration.k8s.io'
  const answer = await askAll({ verb: 'list', resource }, (query, options) =>
    admission.listMutatingWebhookConfiguration({ labelSelector, ...query }, options),
  )
  if (answer.kind !== 'found') return notChecked('you may not list webhook configurations')
  const hooks = answer.value.flatMap(({ webhooks = [] }) => webhooks)
  if (hooks.length === 0)
    return failed(
      'webhooks-missing',
      'there is no webhook configuration, so no pod gets a sidecar',
      'helm upgrade --install pod2iam creates it again',
    )
  const without = hooks.find(({ clientConfig }) => !clientConfig.caBundle)
  if (without !== undefined)
    return failed(
      'ca-bundle-missing',
      `webhook ${without.name} has no caBundle, so the API server cannot call the injector`,
      'the injector writes it: search its log for "certificate authority not reconciled"',
    )
  const end = Math.min(...hooks.map(({ clientConfig }) => endOf(clientConfig.caBundle ?? '')))
  if (end < now)
    return failed(
      'ca-expired',
      `the newest certificate authority in the webhooks ended on ${new Date(end).toISOString()}`,
      "look at the injector's log; with injector.tls.existingSecret, renew injector.tls.caBundle",
    )
  if (end - now < SOON_MS)
    return warning(
      'ca-expiring',
      `the certificate authority in the webhooks ends on ${new Date(end).toISOString()}`,
    )
  return ok(`the API server trusts the injector until ${new Date(end).toISOString().slice(0, 10)}`)
}

/** When the last certificate of a bundle expires, milliseconds; a bundle that cannot be parsed never does, because the API server reports it. */
function endOf(bundle: string): number {
  const pem = Buffer.from(bundle, 'base64').toString()
  const all = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  const ends = all.map((one) => Date.parse(new X509Certificate(one).validTo))
  return ends.length === 0 ? Number.POSITIVE_INFINITY : Math.max(...ends)
}

async function policies({ askAll, admission }: Cluster): Promise<Finding> {
  const labelSelector = PRODUCT
  const resource = 'validatingadmissionpolicybindings.admissionregistration.k8s.io'
  const answer = await askAll({ verb: 'list', resource }, (query, options) =>
    admission.listValidatingAdmissionPolicyBinding({ labelSelector, ...query }, options),
  )
  if (answer.kind === 'forbidden') return notChecked('you may not list admission policies')
  const bindings = foundIn(answer) ?? []
  return bindings.length > 0
    ? ok(`${bindings.length} are in force, even while no injector runs`)
    : warning(
        'policies-missing',
        'there is no ValidatingAdmissionPolicy of pod2iam, so its rules are enforced only while an injector runs; Kubernetes has such policies from 1.30 on',
      )
}

/** Settings that injector and broker both have on their command line, and that must be the same. */
function settings({ injection, guards }: Installation): Finding {
  const [guard] = guards
  const broker = guard === undefined ? undefined : brokerOf(guard)
  if (injection === undefined || broker === undefined)
    return notChecked('the settings of the injector and the broker could not both be read')
  const { policy } = injection
  const pairs: Record<string, readonly [unknown, unknown]> = {
    'role-key': [injection.roleKey, broker.roleKey],
    'namespace-restrictions': [policy.restrictions, broker.namespaceRestrictions],
    'namespace-restriction-format': [policy.format, broker.namespaceRestrictionFormat],
    'permitted-roles': [policy.permittedRoles.join(), broker.permittedRoles.join()],
    'default-role': [injection.defaultRole, broker.defaultRole],
    'base-role-arn': [policy.base ?? broker.baseRoleArn, broker.baseRoleArn ?? policy.base],
  }
  const differing = Object.entries(pairs).find(([, [one, other]]) => one !== other)
  if (differing === undefined) return ok('injector and broker apply the same policy')
  const [flag, [one, other]] = differing
  return failed(
    'settings-differ',
    `--${flag} of the injector is ${one ?? 'not set'}, and of the broker ${other ?? 'not set'}: admission and the broker decide differently`,
    `set it under policy in the values of the chart, which applies to both; an upgrade may be in progress`,
  )
}

function releases(versions: Versions): Finding {
  const skew = skewOf(versions)
  if (skew !== undefined) return warning('version-skew', skew)
  const all = [...Object.keys(versions.injector), ...Object.keys(versions.nodeGuard)]
  return ok(`injector and node guards have release ${[...new Set(all)].join(', ')}`)
}

function pods(holders: readonly Holder[] | undefined): Finding {
  if (holders === undefined) return notChecked('you may not list pods')
  const waiting = holders.filter(({ ready, refused }) => !ready || refused !== null)
  const [first] = waiting
  if (first === undefined) return ok(`${holders.length} with a sidecar, all of which were started`)
  return warning(
    'pods-waiting',
    `${waiting.length} of ${holders.length} with a sidecar have no credentials: pod2iam -n ${first.namespace} explain ${first.pod}`,
  )
}
