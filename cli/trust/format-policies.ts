/** Trust policies and the node role's policy in the formats in which people keep them. Pure. */
import { stringify } from 'yaml'
import type { PolicyFormat } from './policy-format.ts'
import { nodeStatement, policy, type RoleTrust, type Statement } from './roles.ts'

/** @param caller ARN of the caller of STS */
export function formatPolicies(form: PolicyFormat, roles: readonly RoleTrust[], caller: string): string {
  switch (form) {
    case 'json':
      return `${JSON.stringify(documents(roles, caller), null, 2)}\n`
    case 'terraform':
      return terraform(roles, caller)
    case 'cloudformation':
      return cloudFormation(roles, caller)
  }
}

function documents(roles: readonly RoleTrust[], caller: string) {
  const node = nodeStatement(roles)
  return {
    ...(node === undefined ? {} : { [caller]: { policy: policy(node) } }),
    ...Object.fromEntries(roles.map(({ role, statement }) => [role, { trustPolicy: policy(statement) }])),
  }
}

function terraform(roles: readonly RoleTrust[], caller: string): string {
  const node = nodeStatement(roles)
  const blocks = [
    ...(node === undefined
      ? []
      : [
          `# ${caller} may assume the roles of pods.\nresource "aws_iam_role_policy" "pod2iam" {\n  name   = "pod2iam"\n  role   = ${text(lastOf(caller))}\n  policy = data.aws_iam_policy_document.pod2iam.json\n}\n`,
          document('pod2iam', node),
        ]),
    ...roles.map(({ role, usedBy, statement }) => {
      const name = `trust_${identifier(role)}`
      return `# ${role}, used by ${usedBy.join(', ')}.\n# In its aws_iam_role: assume_role_policy = data.aws_iam_policy_document.${name}.json\n${document(name, statement)}`
    }),
  ]
  return blocks.join('\n')
}

function document(name: string, { Effect, Principal, Action, Resource, Condition }: Statement): string {
  const list = (values: string | readonly string[]) => `[${[values].flat().map(text).join(', ')}]`
  const lines = [
    `    effect  = ${text(Effect)}`,
    `    actions = ${list(Action)}`,
    ...(Resource === undefined
      ? []
      : [`    resources = [\n${Resource.map((one) => `      ${text(one)},`).join('\n')}\n    ]`]),
    ...(Principal === undefined
      ? []
      : [`    principals {\n      type        = "AWS"\n      identifiers = ${list(Principal.AWS)}\n    }`]),
    ...Object.entries(Condition ?? {}).flatMap(([test, variables]) =>
      Object.entries(variables).map(
        ([variable, values]) =>
          `    condition {\n      test     = ${text(test)}\n      variable = ${text(variable)}\n      values   = ${list(values)}\n    }`,
      ),
    ),
  ]
  return `data "aws_iam_policy_document" "${name}" {\n  statement {\n${lines.join('\n')}\n  }\n}\n`
}

/** HCL strings are JSON strings, except for templates. */
const text = (value: string) => JSON.stringify(value).replace(/[$%](?=\{)/g, '$&$&')

function cloudFormation(roles: readonly RoleTrust[], caller: string): string {
  const node = nodeStatement(roles)
  const resources = {
    ...(node === undefined
      ? {}
      : {
          Pod2iamNodePolicy: {
            Type: 'AWS::IAM::RolePolicy',
            Properties: { RoleName: lastOf(caller), PolicyName: 'pod2iam', PolicyDocument: policy(node) },
          },
        }),
    ...Object.fromEntries(
      roles.map(({ role, usedBy, statement }) => [
        `Role${identifier(role)
          .replace(/(?:^|_)(\w)/g, (_, letter: string) => letter.toUpperCase())
          .replaceAll('_', '')}`,
        {
          Type: 'AWS::IAM::Role',
          Metadata: { UsedBy: usedBy },
          Properties: {
            RoleName: lastOf(role),
            Path: pathOf(role),
            AssumeRolePolicyDocument: policy(statement),
          },
        },
      ]),
    ),
  }
  return stringify({ AWSTemplateFormatVersion: '2010-09-09', Resources: resources }, { lineWidth: 0 })
}

const lastOf = (arn: string) => arn.slice(arn.lastIndexOf('/') + 1)

function pathOf(arn: string): string {
  const parts = arn
    .replace(/^arn:[^/]*\//, '')
    .split('/')
    .slice(0, -1)
  return parts.length === 0 ? '/' : `/${parts.join('/')}/`
}

/** Account and role, in letters, digits and underscores. */
function identifier(arn: string): string {
  return arn
    .replace(/^arn:[^:]*:iam::/, '')
    .replace(/:role\//, '_')
    .replace(/\W+/g, '_')
    .toLowerCase()
}
