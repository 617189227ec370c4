/** `trust`: the IAM policies that the roles in use need, and whether AWS has them. */
import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { parse } from 'yaml'
import type { Annotated } from '../../cli/audit/annotated.ts'
import { type Iam, verdictOf } from '../../cli/trust/aws.ts'
import { nodeStatement, rolesInUse } from '../../cli/trust/roles.ts'
import { createLoopbackSandbox, type LoopbackSandbox } from '../sandbox/index.ts'
import { type Door, openDoor, run, widest } from './support.ts'

/** A key that only this file uses: a real API server is shared, and other suites leave objects with theirs. */
const ROLE = 'trust.example/role'
const NODE = 'arn:aws:iam::111111111111:role/nodes'
const BASE = 'arn:aws:iam::111111111111:role/'

const deployment = (namespace: string, name: string, annotations: object) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace },
  spec: {
    replicas: 0,
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name }, annotations },
      spec: { containers: [{ name: 'app', image: 'app' }] },
    },
  },
})

/** The part of IAM's query API that is used here; the answers are copied from its documentation. */
async function startIam(roles: Record<string, object>, denied: readonly string[]) {
  const asked: string[] = []
  const server: Server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const form = new URLSearchParams(body)
    const action = form.get('Action') ?? ''
    asked.push(action)
    response.setHeader('content-type', 'text/xml')
    if (action === 'SimulatePrincipalPolicy') {
      const role = form.get('ResourceArns.member.1') ?? ''
      const decision = denied.includes(role) ? 'implicitDeny' : 'allowed'
      response.end(
        `<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults><member><EvalActionName>sts:AssumeRole</EvalActionName><EvalResourceName>${role}</EvalResourceName><EvalDecision>${decision}</EvalDecision></member></EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>`,
      )
      return
    }
    const name = form.get('RoleName') ?? ''
    const document = roles[name]
    if (document === undefined) {
      response.writeHead(404)
      response.end(
        `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>The role with name ${name} cannot be found.</Message></Error><RequestId>1</RequestId></ErrorResponse>`,
      )
      return
    }
    response.end(
      `<GetRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetRoleResult><Role><Path>/</Path><RoleName>${name}</RoleName><RoleId>AROA1</RoleId><Arn>${BASE}${name}</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate><AssumeRolePolicyDocument>${encodeURIComponent(JSON.stringify(document))}</AssumeRolePolicyDocument></Role></GetRoleResult></GetRoleResponse>`,
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  return { asked, url: `http://127.0.0.1:${port}`, close: () => server.close() }
}

describe('trust', () => {
  let sandbox: LoopbackSandbox
  let door: Door
  let trust: readonly string[] = []

  before(async () => {
    sandbox = await createLoopbackSandbox()
    door = await openDoor(sandbox.api)
    trust = ['--kubeconfig', await door.kubeconfig(), 'trust', '--role-key', ROLE]
    const { kube } = sandbox
    await kube.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } })
    await kube.create({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: {
        name: 'everyone',
        labels: { 'pod2iam.dev/injection': 'all' },
        annotations: { 'iam.amazonaws.com/default-role': 'team/default' },
      },
    })
    await kube.create({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'federated', annotations: { 'pod2iam.dev/credential-source': 'web-identity' } },
    })
    await kube.create(deployment('federated', 'ledger', { [ROLE]: 'ledger' }))
    await kube.create(deployment('shop', 'orders', { [ROLE]: 'orders' }))
    await kube.create(deployment('default', 'orders', { [ROLE]: 'orders' }))
    await kube.create(
      deployment('shop', 'partner', {
        [ROLE]: 'arn:aws:iam::222222222222:role/partner',
        'iam.amazonaws.com/external-id': 'half-a-secret',
      }),
    )
  })
  after(async () => {
    await door?.close()
    await sandbox?.close()
  })

  const cli = (args: readonly string[], env: Record<string, string> = {}) =>
    run([...trust, '--node-role', NODE, '--base-role-arn', BASE, ...args], { env })

  test('prints the statement that each role needs and the pods that use it, but no external id', async () => {
    const { code, stdout } = await cli(['-o', 'json'])
    assert.equal(code, 0)
    assert.doesNotMatch(stdout, /half-a-secret/)
    const { roles, policy, caller } = JSON.parse(stdout)
    assert.equal(caller, NODE)
    const assume = { Effect: 'Allow', Principal: { AWS: NODE }, Action: 'sts:AssumeRole' }
    assert.deepEqual(
      roles.map((one: Record<string, unknown>) => [one.role, one.usedBy, one.statement]),
      [
        [`${BASE}orders`, ['default Deployment/orders', 'shop Deployment/orders'], assume],
        [`${BASE}team/default`, ['everyone (default role)'], assume],
        [
          'arn:aws:iam::222222222222:role/partner',
          ['shop Deployment/partner'],
          {
            ...assume,
            Condition: {
              StringEquals: { 'sts:ExternalId': 'the external id of the pod’s annotation' },
            },
          },
        ],
      ],
    )
    assert.deepEqual(policy.Statement[0].Resource, [
      `${BASE}orders`,
      `${BASE}team/default`,
      'arn:aws:iam::222222222222:role/partner',
    ])
  })

  test('lists separately the roles that pods assume by web identity, which need not trust the node role', async () => {
    const { roles, byWebIdentity, policy } = JSON.parse((await cli(['-o', 'json'])).stdout)
    assert.deepEqual(byWebIdentity, [`${BASE}ledger`])
    assert.doesNotMatch(JSON.stringify([roles, policy]), /ledger/)
    const { stdout } = await cli([])
    assert.match(stdout.replace(/\s+/g, ' '), /Pods assume arn:\S+ledger with web identity: .* docs\/iam\.md/)
    assert.ok(widest(stdout) <= 80, `a line has ${widest(stdout)} columns`)
  })

  test('--by-namespace trusts only the sessions of the role’s namespaces', async () => {
    const { roles } = JSON.parse((await cli(['-o', 'json', '--by-namespace'])).stdout)
    assert.deepEqual(roles[0].statement.Condition, {
      StringLike: { 'sts:RoleSessionName': ['default.*', 'shop.*'] },
    })
  })

  test('prints text within 80 columns', async () => {
    const { code, stdout } = await cli([])
    assert.equal(code, 0)
    assert.match(stdout, /^ROLE +USED BY\n/)
    assert.ok(widest(stdout) <= 80, `a line has ${widest(stdout)} columns`)
    const nobody = await run(trust)
    assert.match(nobody.stdout.replace(/\s+/g, ' '), /name the role of the nodes with --node-role/)
    assert.match(nobody.stdout.replace(/\s+/g, ' '), /Some roles are bare names/)
  })

  test('--form cloudformation prints a template with every role and the node’s policy', async () => {
    const { stdout } = await cli(['--form', 'cloudformation'])
    const { Resources } = parse(stdout)
    assert.deepEqual(Resources.Pod2iamNodePolicy.Properties.RoleName, 'nodes')
    const team = Resources.Role111111111111TeamDefault
    assert.deepEqual(
      [team.Type, team.Properties.Path, team.Properties.RoleName],
      ['AWS::IAM::Role', '/team/', 'default'],
    )
    assert.equal(team.Properties.AssumeRolePolicyDocument.Statement[0].Principal.AWS, NODE)
  })

  test('--form terraform prints a policy document for each role', async () => {
    const { stdout } = await cli(['--form', 'terraform'])
    for (const name of ['pod2iam', 'trust_111111111111_orders', 'trust_222222222222_partner'])
      assert.match(stdout, new RegExp(`^data "aws_iam_policy_document" "${name}" \\{$`, 'm'))
    assert.match(stdout, /identifiers = \["arn:aws:iam::111111111111:role\/nodes"\]/)
    assert.match(stdout, /variable = "sts:ExternalId"/)
    assert.equal(stdout.split('{').length, stdout.split('}').length)
  })

  test('--form json prints a document for each principal', async () => {
    const documents = JSON.parse((await cli(['--form', 'json'])).stdout)
    assert.equal(documents[`${BASE}orders`].trustPolicy.Version, '2012-10-17')
    assert.equal(documents[NODE].policy.Statement[0].Action, 'sts:AssumeRole')
  })

  test('--check says which of the statements AWS has, without creating a session', async () => {
    const lets = (principal: string, more: object = {}) => ({
      Statement: [{ Effect: 'Allow', Principal: { AWS: principal }, Action: 'sts:AssumeRole', ...more }],
    })
    const iam = await startIam(
      { orders: lets(NODE), default: lets('arn:aws:iam::111111111111:role/others') },
      [`${BASE}orders`],
    )
    try {
      const env = {
        AWS_ENDPOINT_URL_IAM: iam.url,
        AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
        AWS_SECRET_ACCESS_KEY: 'secret-of-the-operator',
      }
      const { code, stdout } = await cli(['--check', '-o', 'json'], env)
      assert.equal(code, 1)
      assert.doesNotMatch(stdout, /secret-of-the-operator/)
      assert.deepEqual(
        JSON.parse(stdout).roles.map(
          ({ role, inAws }: { role: string; inAws: { trusts: string; permitted: boolean } }) => [
            role.slice(role.lastIndexOf('/') + 1),
            inAws.trusts,
            inAws.permitted,
          ],
        ),
        [
          ['orders', 'yes', false],
          // IAM returns this name without its path.
          ['default', 'missing', true],
          // This role belongs to another account.
          ['partner', 'not-seen', true],
        ],
      )
      assert.deepEqual([...new Set(iam.asked)].sort(), ['GetRole', 'SimulatePrincipalPolicy'])
    } finally {
      iam.close()
    }
  })

  test('--check distinguishes roles that trust the node role, do so under a condition, or not at all', async () => {
    const statement = (more: object) => ({
      Statement: { Effect: 'Allow', Action: ['sts:AssumeRole', 'sts:TagSession'], ...more },
    })
    for (const [document, trusts] of [
      [statement({ Principal: { AWS: 'arn:aws:iam::111111111111:root' } }), 'yes'],
      [
        statement({ Principal: { AWS: NODE }, Condition: { Bool: { 'aws:SecureTransport': 'true' } } }),
        'conditional',
      ],
      [statement({ Principal: { Service: 'ec2.amazonaws.com' } }), 'no'],
      [statement({ Principal: { AWS: NODE }, Action: 'sts:TagSession' }), 'no'],
    ] as const) {
      const iam = await startIam({ orders: document }, [])
      const env = {
        AWS_ENDPOINT_URL_IAM: iam.url,
        AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
        AWS_SECRET_ACCESS_KEY: 'x',
      }
      try {
        const { roles } = JSON.parse((await cli(['--check', '-o', 'json'], env)).stdout)
        assert.equal(roles[0].inAws.trusts, trusts, JSON.stringify(document))
      } finally {
        iam.close()
      }
    }
  })

  test('a source identity and the operator’s tags need their actions in each statement and in AWS', async () => {
    const settings = {
      ...{ caller: NODE, base: BASE, byNamespace: false, defaultRole: undefined },
      broker: {
        ...({ sessionTags: false, sessionScope: 'pod', credentialSources: ['node-role'] } as const),
        extraSessionTags: [{ Key: 'team', Value: 'platform' }],
        sourceIdentity: '{namespace}.{service-account}',
      },
    }
    const uses = { workload: { namespace: 'shop', kind: 'Deployment', name: 'orders' }, role: 'orders' }
    const use = { ...uses, isHostNetwork: false, hasExternalId: false } as unknown as Annotated
    const [role] = rolesInUse([use], [], settings).byNodeRole
    const actions = ['sts:AssumeRole', 'sts:TagSession', 'sts:SetSourceIdentity']
    assert.deepEqual(role?.statement.Action, actions)
    assert.deepEqual(nodeStatement(role === undefined ? [] : [role])?.Action, actions)
    for (const [Action, trusts] of [
      [actions, 'yes'],
      [actions.slice(0, 2), 'no'],
      ['sts:*', 'yes'],
    ] as const) {
      const trusted = { Statement: [{ Effect: 'Allow', Principal: { AWS: NODE }, Action }] }
      const answers: Record<string, object> = {
        GetRoleCommand: {
          Role: {
            Arn: `${BASE}orders`,
            AssumeRolePolicyDocument: encodeURIComponent(JSON.stringify(trusted)),
          },
        },
        SimulatePrincipalPolicyCommand: { EvaluationResults: [{ EvalDecision: 'allowed' }] },
      }
      const iam = { send: async (command: object) => answers[command.constructor.name] } as unknown as Iam
      const verdict = await verdictOf(iam, role ?? assert.fail(), NODE)
      assert.deepEqual([verdict.trusts, verdict.permitted], [trusts, true], String(Action))
    }
  })

  test('--check says what is missing without credentials or without the node role', async () => {
    const none = await cli(['--check'], { AWS_EC2_METADATA_DISABLED: 'true' })
    assert.equal(none.code, 2)
    assert.match(none.stderr, /no-aws-credentials/)
    const nobody = await run([...trust, '--check'])
    assert.equal(nobody.code, 2)
    assert.match(nobody.stderr, /node-role-unknown/)
  })
})
