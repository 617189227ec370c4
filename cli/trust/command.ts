import { KEYS } from '../../common/keys.ts'
import { parseBaseRoleArn, parseRoleArn } from '../../common/role.ts'
import { annotated } from '../audit/annotated.ts'
import { foundIn } from '../cluster/api-request.ts'
import { bounded } from '../cluster/bounded.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { brokerOf, findInstallation } from '../cluster/installation.ts'
import { plainObject } from '../cluster/plain-object.ts'
import { namespaceOf } from '../explain/live.ts'
import { CliError } from '../failure.ts'
import { exitCode, type Outcome, type Page } from '../outcome.ts'
import { refusalsText } from '../output/refusals.ts'
import { indented, table } from '../output/table.ts'
import type { Verdict } from './aws.ts'
import { formatPolicies } from './format-policies.ts'
import type { PolicyFormat } from './policy-format.ts'
import { nodeStatement, policy, type RoleTrust, rolesInUse } from './roles.ts'

export type TrustOptions = {
  readonly nodeRole?: string
  readonly baseRoleArn?: string
  readonly roleKey?: string
  readonly form?: PolicyFormat
  readonly byNamespace?: boolean
  readonly check?: boolean
}

/** Used if the caller of STS is not known. */
const UNKNOWN_CALLER = 'arn:aws:iam::ACCOUNT:role/NODE-ROLE'

/** `trust`: what IAM needs so that the roles in use can be assumed. */
export async function trust(cluster: Cluster, options: TrustOptions): Promise<Outcome> {
  const installation = await findInstallation(cluster)
  const [guard] = installation.guards
  const broker = guard === undefined ? undefined : brokerOf(guard)
  const caller = callerOf(options, broker?.assumeRoleArn)
  const roleKey = options.roleKey ?? installation.injection?.roleKey ?? KEYS.role
  const [all, namespaces] = await Promise.all([
    annotated(cluster, roleKey, installation.injection?.serviceAccountKey),
    cluster.askAll({ verb: 'list', resource: 'namespaces' }, (query, call) =>
      cluster.core.listNamespace(query, call),
    ),
  ])
  const own = (foundIn(namespaces) ?? []).map((one) => namespaceOf(plainObject(one)))
  const { byNodeRole: roles, byWebIdentity } = rolesInUse(all, own, {
    ...{ caller, broker, byNamespace: options.byNamespace === true },
    base: baseOf(options) ?? broker?.baseRoleArn ?? installation.injection?.policy.base,
    defaultRole: broker?.defaultRole,
  })
  const verdicts = options.check ? await judge(roles, caller) : undefined
  const refused = cluster.refusals()
  const node = nodeStatement(roles)
  const documents = roles.map((one, index) => ({
    ...one,
    trustPolicy: policy(one.statement),
    inAws: verdicts?.[index] ?? null,
  }))
  const isWrong = verdicts?.some(({ trusts, permitted }) => isBad(trusts) || permitted === false) === true
  const isIncomplete = verdicts?.some(({ trusts }) => trusts === 'not-seen') === true || refused.length > 0
  return {
    data: {
      caller,
      policy: node === undefined ? null : policy(node),
      roles: documents,
      byWebIdentity,
      refused,
    },
    text: (page) =>
      options.form === undefined
        ? trustText(roles, caller, verdicts, page) +
          webIdentityText(byWebIdentity, page) +
          refusalsText(refused, page)
        : formatPolicies(options.form, roles, caller),
    exit: exitCode(isWrong, isIncomplete),
  }
}

const isBad = (trusts: Verdict['trusts']) => trusts === 'no' || trusts === 'missing'

function callerOf({ nodeRole, check }: TrustOptions, hop: string | undefined): string {
  if (nodeRole !== undefined) {
    const parsed = parseRoleArn(nodeRole)
    if (parsed.ok) return nodeRole
    throw new CliError('usage', `--node-role: ${parsed.detail}`, 'write arn:aws:iam::<12 digits>:role/<name>')
  }
  if (hop === undefined && check)
    throw new CliError(
      'node-role-unknown',
      'the cluster does not know which role calls STS: it is the role in the instance profile of its nodes',
      'name it with --node-role arn:aws:iam::<12 digits>:role/<name>',
    )
  return hop ?? UNKNOWN_CALLER
}

function baseOf({ baseRoleArn }: TrustOptions): string | undefined {
  if (baseRoleArn === undefined) return undefined
  const parsed = parseBaseRoleArn(baseRoleArn)
  if (parsed.ok) return parsed.base
  throw new CliError(
    'usage',
    `--base-role-arn is not usable: ${parsed.detail}`,
    'write arn:aws:iam::<12 digits>:role/',
  )
}

async function judge(roles: readonly RoleTrust[], caller: string): Promise<Verdict[]> {
  // The SDK is loaded only for this.
  const { iamClient, verdictOf } = await import('./aws.ts')
  const iam = iamClient()
  return bounded(roles, 5, (role) => verdictOf(iam, role, caller))
}

function webIdentityText(roles: readonly string[], page: Page): string {
  if (roles.length === 0) return ''
  const note =
    `Pods assume ${roles.join(', ')} with web identity: the trust policy of such a role names the OIDC provider ` +
    'of the cluster instead of the node role, see docs/iam.md#web-identity.'
  return `\n${page.paint('warning', '!')} ${indented(note, 2, page).slice(2)}\n`
}

function trustText(
  roles: readonly RoleTrust[],
  caller: string,
  verdicts: readonly Verdict[] | undefined,
  page: Page,
): string {
  if (roles.length === 0) return 'The node role assumes no role.\n'
  const rows = roles.map(({ role, usedBy }, index) => [
    role,
    usedBy.length === 1 ? (usedBy[0] ?? '') : `${usedBy[0]} and ${usedBy.length - 1} more`,
    ...(verdicts === undefined ? [] : [verdictText(verdicts[index], page)]),
  ])
  const head = ['ROLE', 'USED BY', ...(verdicts === undefined ? [] : ['TRUSTS THE CALLER'])]
  const notes = [
    ...(caller === UNKNOWN_CALLER
      ? ['The cluster does not know which role calls STS: name the role of the nodes with --node-role.']
      : []),
    ...(roles.some(({ isArn }) => !isArn)
      ? ['Some roles are bare names whose prefix is not known: name it with --base-role-arn.']
      : []),
  ]
  const [first] = roles
  return [
    table(head, rows, page),
    ...(first === undefined
      ? []
      : [
          `\n${indented(`Each of them needs a statement in its trust policy, such as this one for ${first.role}:`, 0, page)}\n`,
          `${JSON.stringify(first.statement, null, 2)}\n`,
          `\n${indented(`For the policies of all of them and of ${caller}, use --form json, terraform or cloudformation.`, 0, page)}\n`,
        ]),
    ...notes.map((note) => `\n${page.paint('warning', '!')} ${indented(note, 2, page).slice(2)}\n`),
  ].join('')
}

function verdictText(verdict: Verdict | undefined, { paint }: Page): string {
  if (verdict === undefined) return ''
  const { trusts, permitted } = verdict
  const tone = trusts === 'yes' ? 'good' : isBad(trusts) ? 'bad' : 'warning'
  const may = permitted === false ? `; ${paint('bad', 'its own policy forbids it')}` : ''
  return paint(tone, trusts) + may
}
