/** Step 7, with `--web-identity`: roles that trust the cluster's issuer, which root on a node cannot assume. */
import { type Aws, trustWebIdentity } from '../sandbox/aws/client.ts'
import { ADDRESSES, isReady } from '../sandbox/index.ts'
import type { Output } from './output.ts'
import { accessKeyOf, CREDENTIALS_URL, NODE_ROLE, PROJECT, REPORTS_ROLE, type Stage } from './stage.ts'

const ROLE = 'arn:aws:iam::222222222222:role/payroll-writer'
const SUBJECT = 'system:serviceaccount:payroll:default'

export async function showWebIdentity(stage: Stage, out: Output): Promise<void> {
  out.step('Web identity: a role that root on the node cannot assume')
  out.say(`So far each role trusts ${NODE_ROLE}. Whoever is root on a node can assume it, too:`)
  const before = await assumeOnNode(stage, out, REPORTS_ROLE)
  out.shows(before.includes(':assumed-role/reports-reader/'), 'root on the node gets the role of a pod')

  const trustPolicy = await trustTheIssuer(stage, out)
  await stage.aws.putRole({ arn: ROLE, trustPolicy })
  const annotations = { 'pod2iam.dev/credential-source': 'web-identity' }
  await stage.namespace('payroll', { allowed: ['payroll-*'], annotations })
  out.say('A namespace chooses the source, where the operator allows it (chart: broker.credentialSources):')
  out.ran('kubectl annotate namespace payroll pod2iam.dev/credential-source=web-identity')
  const pod = await stage.pod('payroll/wages', {
    annotations: { 'iam.amazonaws.com/role': 'payroll-writer' },
  })
  await stage.pods.waitFor(pod, isReady)
  const document = await stage.inPod(pod, 'curl', '-s', `${CREDENTIALS_URL}payroll-writer`)
  const key = accessKeyOf(document.stdout)
  const [session] = key === undefined ? [] : await stage.aws.sessions({ accessKeyId: key })
  out.shows(
    session?.by === 'web-identity' && session.arn.endsWith(':assumed-role/payroll-writer/payroll.wages'),
    'the pod has its role at the same metadata address, by its own service account’s token',
  )
  const after = await assumeOnNode(stage, out, ROLE)
  out.shows(after.startsWith('AccessDenied'), 'root on the node does not')
}

/** Creates what an operator needs once in each account. Returns the trust policy of a role for the service account. */
async function trustTheIssuer(
  { aws, api }: Stage,
  out: Output,
): Promise<ReturnType<typeof trustWebIdentity>> {
  const { body } = await api.admin.request('GET', '/openid/v1/jwks')
  const keys: Parameters<Aws['putOidcProvider']>[0]['keys'] = { jwks: JSON.parse(body) }
  const provider = await aws.putOidcProvider({ issuer: api.issuer, clientIds: ['sts.amazonaws.com'], keys })
  out.say('The account gets to know the cluster’s issuer, and a role trusts one service account:')
  out.ran(
    `aws iam create-open-id-connect-provider --url ${api.issuer} --client-id-list sts.amazonaws.com`,
    provider,
  )
  const trustPolicy = trustWebIdentity({ provider, subject: SUBJECT })
  out.ran(
    'aws iam create-role --role-name payroll-writer --assume-role-policy-document …',
    JSON.stringify(trustPolicy.Statement[0], null, 1).replace(/\n\s*/g, ' '),
  )
  return trustPolicy
}

/** The answer of STS to a process on the node with the node's own credentials. */
async function assumeOnNode(stage: Stage, out: Output, role: string): Promise<string> {
  const script = `${PROJECT}test/demo/assume.ts`
  const { stdout } = await stage.exec('node', [process.execPath, script, role, `http://${ADDRESSES.vpc[0]}`])
  out.ran(`ssh root@node aws sts assume-role --role-arn ${role} --role-session-name root-on-the-node`, stdout)
  return stdout
}
