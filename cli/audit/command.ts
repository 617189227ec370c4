import type { V1Namespace } from '@kubernetes/client-node'
import { KEYS } from '../../common/keys.ts'
import { parseBaseRoleArn } from '../../common/role.ts'
import { foundIn } from '../cluster/api-request.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { brokerOf, findInstallation } from '../cluster/installation.ts'
import { ownersOf } from '../cluster/owners.ts'
import { plainObject } from '../cluster/plain-object.ts'
import { namespaceOf } from '../explain/live.ts'
import { CliError } from '../failure.ts'
import { exitCode, type Outcome, type Page } from '../outcome.ts'
import { refusalsText } from '../output/refusals.ts'
import { indented, table } from '../output/table.ts'
import type { Status } from '../product/guard.ts'
import { reportNodes } from '../status/nodes.ts'
import { annotated } from './annotated.ts'
import { type MetadataUser, metadataUsers } from './metadata-users.ts'
import { type Suggestion, suggestionFor } from './suggestion.ts'

export type AuditOptions = {
  readonly suggest?: boolean
  readonly roleKey?: string
  readonly baseRoleArn?: string
}

/** `audit`: which pods would be refused if the guards enforced. */
export async function audit(cluster: Cluster, options: AuditOptions, now = Date.now): Promise<Outcome> {
  if (options.suggest) return suggest(cluster, options)
  const installation = await findInstallation(cluster)
  const { reports, isComplete } = await reportNodes(cluster, installation)
  const reporting = reports.filter(({ source }) => source === 'guard')
  const auditing = reporting.filter(({ mode }) => mode === 'audit')
  const withHostNetwork = reporting.filter(({ hostNetwork }) => hostNetwork !== null)
  if (auditing.length + withHostNetwork.length === 0) throw whyNoAudit(reporting.length, reports.length)
  const hostNetwork = withHostNetwork.flatMap(({ node, hostNetwork }) =>
    (hostNetwork?.pods ?? []).map((pod) => ({ node, ...pod })),
  )
  const { askAll, core } = cluster
  const [pods, namespaces] = await Promise.all([
    askAll({ verb: 'list', resource: 'pods' }, (query, options) =>
      core.listPodForAllNamespaces(query, options),
    ),
    namespacesOf(cluster),
  ])
  const roleKey = options.roleKey ?? installation.injection?.roleKey ?? KEYS.role
  const seen = await metadataUsers(
    auditing,
    foundIn(pods) ?? [],
    namespaces,
    ownersOf(cluster),
    roleKey,
    now(),
  )
  const refused = cluster.refusals()
  const others = reports.length - auditing.length
  return {
    data: { seen, hostNetwork, nodes: { auditing: auditing.length, others }, refused },
    text: (page) =>
      (auditing.length === 0 ? '' : seenText(seen, now(), page)) +
      hostNetworkText(hostNetwork, now(), page) +
      nodesText(auditing.length, others, page) +
      refusalsText(refused, page),
    exit: exitCode(
      seen.length + hostNetwork.filter(({ allowed }) => !allowed).length > 0,
      others > 0 || !isComplete || pods.kind !== 'found',
    ),
  }
}

function whyNoAudit(reporting: number, nodes: number): CliError {
  if (nodes === 0)
    return new CliError(
      'not-installed',
      'no node guard was found, and only the guards see which pods use the metadata service',
      'install pod2iam with guard.mode=audit: docs/migrating-from-kube2iam.md',
    )
  if (reporting === 0)
    return new CliError(
      'guards-not-asked',
      `none of ${nodes} node guards could be asked`,
      'ask for permission to create (and get) pods/exec in the namespace of pod2iam; pod2iam status shows the guards',
    )
  return new CliError(
    'not-auditing',
    'no node is in audit mode, so requests of pods to the metadata service are refused without being recorded',
    'set guard.mode=audit to see which pods use the metadata service; pod2iam audit --suggest works in every mode',
  )
}

async function namespacesOf({ askAll, core }: Cluster): Promise<Map<string, V1Namespace>> {
  const answer = await askAll({ verb: 'list', resource: 'namespaces' }, (query, options) =>
    core.listNamespace(query, options),
  )
  return new Map((foundIn(answer) ?? []).map((one) => [one.metadata?.name ?? '', one]))
}

function seenText(seen: readonly MetadataUser[], now: number, page: Page): string {
  if (seen.length === 0) return page.paint('good', 'No pod has used the metadata service.\n')
  const rows = seen.map(({ workload, addresses, via, packets, firstSeen, lastSeen }) => [
    workload === null ? addresses.join(' ') : `${workload.namespace} ${workload.kind}/${workload.name}`,
    via,
    String(packets),
    firstSeen === null ? '-' : ago(firstSeen, now),
    ago(lastSeen, now),
  ])
  const todos = seen.map(
    ({ workload, addresses, todo }) =>
      `\n${page.paint('bold', workload === null ? addresses.join(' ') : `${workload.namespace} ${workload.kind}/${workload.name}`)}\n${indented(todo.detail, 2, page)}\n`,
  )
  return table(['WORKLOAD', 'VIA', 'PACKETS', 'FIRST SEEN', 'LAST SEEN'], rows, page) + todos.join('')
}

type OnHostNetwork = { readonly node: string } & NonNullable<Status['hostNetwork']>['pods'][number]

function hostNetworkText(pods: readonly OnHostNetwork[], now: number, page: Page): string {
  if (pods.length === 0) return ''
  const rows = pods.map(({ node, namespace, name, allowed, packets, lastSeen }) => [
    `${namespace}/${name}`,
    node,
    allowed ? page.paint('good', 'yes') : page.paint('bad', 'no'),
    String(packets),
    ago(lastSeen, now),
  ])
  return `\n${table(['ON THE HOST NETWORK', 'NODE', 'ALLOWED', 'PACKETS', 'LAST SEEN'], rows, page)}`
}

function nodesText(auditing: number, others: number, page: Page): string {
  const line = `${auditing} of ${auditing + others} nodes reported what they saw in audit mode.`
  return `\n${others === 0 ? line : page.paint('warning', line)}\n`
}

function ago(time: string, now: number): string {
  const minutes = Math.round((now - Date.parse(time)) / 60_000)
  if (minutes < 1) return 'just now'
  return minutes < 120 ? `${minutes} min ago` : `${Math.round(minutes / 60)} h ago`
}

async function suggest(cluster: Cluster, options: AuditOptions): Promise<Outcome> {
  const installation = await findInstallation(cluster)
  const roleKey = options.roleKey ?? installation.injection?.roleKey ?? KEYS.role
  const [guard] = installation.guards
  const policy = {
    restrictions: true,
    format: installation.injection?.policy.format ?? 'glob',
    base: baseOf(options) ?? installation.injection?.policy.base ?? (guard && brokerOf(guard)?.baseRoleArn),
    permittedRoles: installation.injection?.policy.permittedRoles ?? [],
  } as const
  const [all, namespaces] = await Promise.all([
    annotated(cluster, roleKey, installation.injection?.serviceAccountKey),
    namespacesOf(cluster),
  ])
  const untouched = installation.injection === undefined ? ['kube-system'] : installation.untouched
  const suggestions = [...Map.groupBy(all, ({ workload }) => workload.namespace)]
    .map(([name, users]) => {
      const own = namespaces.get(name)
      const namespace =
        own === undefined ? { name, labels: {}, annotations: {} } : namespaceOf(plainObject(own))
      return suggestionFor(namespace, users, policy, untouched)
    })
    .sort((one, other) => one.namespace.localeCompare(other.namespace))
  const refused = cluster.refusals()
  return {
    data: { roleKey, namespaces: suggestions, refused },
    text: (page) => suggestionsText(suggestions, roleKey, page) + refusalsText(refused, page),
    exit: exitCode(
      suggestions.some(({ commands, notes }) => commands.length + notes.length > 0),
      refused.length > 0,
    ),
  }
}

function baseOf({ baseRoleArn }: AuditOptions): string | undefined {
  if (baseRoleArn === undefined) return undefined
  const parsed = parseBaseRoleArn(baseRoleArn)
  if (parsed.ok) return parsed.base
  throw new CliError(
    'usage',
    `--base-role-arn is not usable: ${parsed.detail}`,
    'write arn:aws:iam::<12 digits>:role/',
  )
}

function suggestionsText(suggestions: readonly Suggestion[], roleKey: string, page: Page): string {
  if (suggestions.length === 0) return `Nothing names a role with annotation ${roleKey}.\n`
  const rows = suggestions.flatMap(({ namespace, roles }) =>
    roles.map(({ role, allowed, workloads }) => [
      namespace,
      role,
      workloads.length === 1 ? (workloads[0] ?? '') : `${workloads[0]} and ${workloads.length - 1} more`,
      allowed === null
        ? page.paint('dim', 'not known')
        : allowed
          ? page.paint('good', 'yes')
          : page.paint('bad', 'no'),
    ]),
  )
  const commands = suggestions.flatMap((one) => one.commands)
  const notes = suggestions.flatMap(({ namespace, notes }) =>
    notes.map((note) => `${indented(`namespace ${namespace}: ${note}`, 2, page)}\n`),
  )
  // Commands are never wrapped, because people copy them.
  const todo = commands.length === 0 ? 'All lists and labels are in place.\n' : 'To make all of it work:\n\n'
  return [
    rows.length === 0 ? '' : `${table(['NAMESPACE', 'ROLE', 'ASKED FOR BY', 'ALLOWED'], rows, page)}\n`,
    todo,
    ...commands.map((one) => `${one}\n`),
    ...(notes.length === 0 ? [] : ['\nWhat no command can fix:\n\n', ...notes]),
  ].join('')
}
