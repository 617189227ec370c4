import { messageOf } from '../../../common/errors.ts'
import { type Exec, whyFailed } from '../process/exec.ts'
import { ofFamily } from '../rules/iptables.ts'
import { type HiddenRoute, RETURN_ROUTE_TABLE } from './network.ts'

/**
 * Policy routing can separate a pod from its node: with security groups for pods in strict mode the VPC CNI sends all
 * packets of a pod's veth out by a branch interface (`iif vlan… lookup 101`, before `lookup local`), and only that table
 * has the route to the pod. Then the pod cannot reach the broker, and neither the broker's answers nor the resets of
 * connections to the metadata service reach the pod: the node would send them out by its primary interface.
 *
 * The guard's own policy rules correct exactly this: the broker's addresses are looked up in the table `local` for every source, and packets that this
 * node sends *from* the broker's or a metadata address are routed by a table that has those hidden routes.
 */
export type ReturnRouteOptions = { readonly metadata: readonly string[]; readonly broker: readonly string[] }

/** Before the VPC CNI's 10 and Cilium's 9. */
const PRIORITY = 8
/** The origin (`proto`) by which our rules and routes are recognised. */
const PROTOCOL = '169'

/** The fields that are used of `ip -json rule show`. */
export type PolicyRule = {
  readonly priority?: number
  readonly src?: string
  readonly dst?: string
  readonly iif?: string
  readonly fwmark?: string
  readonly l3mdev?: unknown
  readonly table?: string
  readonly protocol?: string
}

/**
 * The policy rules that are needed for one family, as `ip rule add` takes them; none where the node has only the kernel's.
 *
 * @param rules those of the node
 * @param hidden routes of this family, see `classifyNetwork`
 */
export function wantedRules(
  rules: readonly PolicyRule[],
  hidden: readonly HiddenRoute[],
  { metadata, broker }: ReturnRouteOptions,
): string[] {
  const isLocal = ({ table }: PolicyRule) => table === 'local'
  const first = rules.findIndex((rule) => isLocal(rule) && isForAll(rule))
  const overtaking = (first < 0 ? rules : rules.slice(0, first)).some(
    (rule) => !isOurs(rule) && !isLocal(rule) && rule.fwmark === undefined && !('l3mdev' in rule),
  )
  return [
    ...(overtaking ? broker.map((address) => `to ${address} lookup local`) : []),
    ...(hidden.length > 0
      ? [...broker, ...metadata].map((address) => `from ${address} iif lo lookup ${RETURN_ROUTE_TABLE}`)
      : []),
  ]
}

const isForAll = ({ src, dst, iif, fwmark }: PolicyRule) =>
  src === 'all' && dst === undefined && iif === undefined && fwmark === undefined

const isOurs = ({ priority, protocol }: PolicyRule) => priority === PRIORITY && protocol === PROTOCOL

/** A policy rule in the wording of {@link wantedRules}. */
const wordingOf = ({ src, dst, iif, table }: PolicyRule) =>
  [
    ...(src === 'all' || src === undefined ? [] : [`from ${src}`]),
    ...(dst === undefined ? [] : [`to ${dst}`]),
    ...(iif === undefined ? [] : [`iif ${iif}`]),
    `lookup ${table}`,
  ].join(' ')

/**
 * Adds the rules and routes by which answers reach pods behind policy routing, and removes those that are no longer needed.
 * Returns why it could not, as sentences joined by semicolons, or undefined.
 */
export const ensureReturnRoutes = (exec: Exec, options: ReturnRouteOptions, hidden: readonly HiddenRoute[]) =>
  eachFamily(exec, options, hidden, 'pods behind policy routing may not reach the broker')

/** Removes all of these rules and routes. Returns why it could not, or undefined. */
export const removeReturnRoutes = (exec: Exec) =>
  eachFamily(exec, { metadata: [], broker: [] }, [], "the guard's policy rules may be left on this node")

async function eachFamily(
  exec: Exec,
  options: ReturnRouteOptions,
  hidden: readonly HiddenRoute[],
  consequence: string,
): Promise<string | undefined> {
  const failures: string[] = []
  for (const family of [4, 6] as const) {
    const own = ofFamily(family)
    const ownOptions = { metadata: options.metadata.filter(own), broker: options.broker.filter(own) }
    const ownHidden = hidden.filter(({ destination }) => own(destination))
    try {
      await ensureFamily(exec, family, ownOptions, ownHidden)
    } catch (error) {
      failures.push(`${consequence} (IPv${family}): ${messageOf(error)}`)
    }
  }
  return failures.length > 0 ? failures.join('; ') : undefined
}

async function ensureFamily(
  exec: Exec,
  family: 4 | 6,
  options: ReturnRouteOptions,
  hidden: readonly HiddenRoute[],
): Promise<void> {
  const listed = await exec('ip', [`-${family}`, '-json', 'rule', 'show'])
  // A kernel without this family has no pods of it.
  if (listed.code !== 0 && /not supported/i.test(listed.stderr)) return
  if (listed.code !== 0) throw new Error(whyFailed('ip', listed))
  const rules = JSON.parse(listed.stdout || '[]') as readonly PolicyRule[]
  const ours = rules.filter(isOurs).map(wordingOf)
  const wanted = wantedRules(rules, hidden, options)
  const rule = (verb: 'add' | 'del') => (wording: string) =>
    `rule ${verb} ${wording} priority ${PRIORITY} protocol ${PROTOCOL}`
  const routes = ours.some(leadsToUs) || hidden.length > 0 ? await routeChanges(exec, family, hidden) : []
  const batch = [
    ...ours.filter((wording) => !wanted.includes(wording)).map(rule('del')),
    ...routes,
    ...wanted.filter((wording) => !ours.includes(wording)).map(rule('add')),
  ]
  if (batch.length === 0) return
  // `-force`: a device that has come or gone since must not keep the other commands from running.
  const done = await exec('ip', [`-${family}`, '-force', '-batch', '-'], { input: `${batch.join('\n')}\n` })
  if (done.code !== 0) throw new Error(whyFailed('ip', done))
}

const leadsToUs = (wording: string) => wording.endsWith(` ${RETURN_ROUTE_TABLE}`)

async function routeChanges(exec: Exec, family: 4 | 6, hidden: readonly HiddenRoute[]): Promise<string[]> {
  const listed = await exec('ip', [`-${family}`, '-oneline', 'route', 'show', 'table', RETURN_ROUTE_TABLE])
  // A table without routes does not exist.
  const lines = listed.code === 0 ? listed.stdout.split('\n') : []
  const there = lines.flatMap((line) => /^(\S+) dev (\S+)/.exec(line)?.slice(1).join(' dev ') ?? [])
  const wanted = hidden.map(({ destination, device }) => `${destination} dev ${device}`)
  return [
    ...there
      .filter((route) => !wanted.includes(route))
      .map((route) => `route del ${route} table ${RETURN_ROUTE_TABLE}`),
    ...wanted
      .filter((route) => !there.includes(route))
      .map((route) => `route replace ${route} table ${RETURN_ROUTE_TABLE} protocol ${PROTOCOL}`),
  ]
}
