/** Whether the statements are in AWS. It only reads, and creates no session. */
import { GetRoleCommand, IAMClient, SimulatePrincipalPolicyCommand } from '@aws-sdk/client-iam'
import { messageOf } from '../../common/errors.ts'
import { parseRoleArn } from '../../common/role.ts'
import { CliError } from '../failure.ts'
import type { RoleTrust, Statement } from './roles.ts'

export type Verdict = {
  /** `yes`; `no`; `conditional`: under a condition that is not evaluated here; `missing`: no such role; `not-seen`: it may not be read. */
  readonly trusts: 'yes' | 'no' | 'conditional' | 'missing' | 'not-seen'
  /** Whether the caller's own policies let it assume the role; null if simulating that is not allowed. */
  readonly permitted: boolean | null
  readonly detail: string
}

const TIMEOUT_MS = 10_000

export type Iam = Pick<IAMClient, 'send'>

/** Uses the credentials that the AWS CLI would find. IAM is a global service. */
export function iamClient(): Iam {
  return new IAMClient({ region: process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION ?? 'us-east-1' })
}

/** @throws {CliError} if there are no credentials */
export async function verdictOf(iam: Iam, role: RoleTrust, caller: string): Promise<Verdict> {
  const [trust, permitted] = await Promise.all([trustSeen(iam, role, caller), permission(iam, role, caller)])
  return { ...trust, permitted }
}

async function trustSeen(
  iam: Iam,
  { role, statement }: RoleTrust,
  caller: string,
): Promise<Omit<Verdict, 'permitted'>> {
  const parsed = parseRoleArn(role)
  if (!parsed.ok)
    return { trusts: 'not-seen', detail: 'its account is not known, because no base role ARN is' }
  const RoleName = role.slice(role.lastIndexOf('/') + 1)
  const account = parsed.role.account
  // GetRole knows only the account of the credentials, which is assumed to be that of the nodes.
  if (account !== /:(\d{12}):/.exec(caller)?.[1])
    return {
      trusts: 'not-seen',
      detail: `it is in account ${account}: check there, with credentials of that account`,
    }
  try {
    const { Role } = await iam.send(new GetRoleCommand({ RoleName }), bounded())
    if (Role?.Arn !== role)
      return {
        trusts: 'missing',
        detail: `IAM has ${Role?.Arn}: another account or another path`,
      }
    const document = JSON.parse(decodeURIComponent(Role.AssumeRolePolicyDocument ?? '{}'))
    const all = [statement.Action].flat().map((action) => evaluate(document, caller, action))
    const worst = (['no', 'conditional', 'yes'] as const).flatMap(
      (one) => all.find(({ trusts }) => trusts === one) ?? [],
    )
    return worst[0] ?? evaluate(document, caller, 'sts:AssumeRole')
  } catch (error) {
    const { name } = error as Error
    if (name === 'NoSuchEntityException' || name === 'NoSuchEntity')
      return { trusts: 'missing', detail: 'IAM has no role of this name in the account of your credentials' }
    if (name === 'CredentialsProviderError')
      throw new CliError(
        'no-aws-credentials',
        'no AWS credentials were found',
        'log in as for the AWS CLI, or omit --check',
        {
          cause: error,
        },
      )
    return { trusts: 'not-seen', detail: messageOf(error) }
  }
}

async function permission(iam: Iam, { role, statement }: RoleTrust, caller: string): Promise<boolean | null> {
  try {
    const { EvaluationResults = [] } = await iam.send(
      new SimulatePrincipalPolicyCommand({
        PolicySourceArn: caller,
        ActionNames: [statement.Action].flat(),
        ResourceArns: [role],
      }),
      bounded(),
    )
    return (
      EvaluationResults.length > 0 &&
      EvaluationResults.every(({ EvalDecision }) => EvalDecision === 'allowed')
    )
  } catch {
    // This needs a separate permission, and is optional.
    return null
  }
}

const bounded = () => ({ abortSignal: AbortSignal.timeout(TIMEOUT_MS) })

/** Whether a trust policy allows the caller. Principals are compared literally; conditions are left to the user. */
function evaluate(document: unknown, caller: string, action: string): Omit<Verdict, 'permitted'> {
  const found = statementsOf(document).filter((one) => isAbout(one, caller, action))
  if (found.some(({ Effect }) => Effect === 'Deny'))
    return { trusts: 'conditional', detail: 'its trust policy has a Deny statement: read it' }
  const allowed = found.filter(({ Effect }) => Effect === 'Allow')
  if (allowed.some(({ Condition }) => Condition === undefined))
    return { trusts: 'yes', detail: 'its trust policy allows the caller' }
  return allowed.length > 0
    ? { trusts: 'conditional', detail: 'its trust policy allows the caller under a condition: read it' }
    : { trusts: 'no', detail: `no statement of its trust policy allows the caller ${action}` }
}

type Written = Omit<Statement, 'Principal'> & { readonly Principal?: unknown }

function statementsOf(document: unknown): Written[] {
  const { Statement } = (document ?? {}) as { Statement?: Written | Written[] }
  return Statement === undefined ? [] : [Statement].flat()
}

function isAbout({ Principal, Action }: Written, caller: string, action: string): boolean {
  const account = /^arn:[^:]*:iam::(\d{12}):/.exec(caller)?.[1] ?? ''
  const partition = caller.split(':')[1] ?? 'aws'
  const names = ['*', caller, account, `arn:${partition}:iam::${account}:root`]
  const principals =
    Principal === '*' ? ['*'] : [(Principal as { AWS?: string | string[] } | undefined)?.AWS ?? []].flat()
  const isMeant = [Action]
    .flat()
    .some((one) => ['*', 'sts:*', action.toLowerCase()].includes(one.toLowerCase()))
  return isMeant && principals.some((one) => names.includes(one))
}
