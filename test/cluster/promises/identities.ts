/**
 * Identities that the node's role does not give, sessions that are narrower than their role, clients that know only container
 * credentials, and pods on the host network, with the settings that are off by default.
 */
import { fileURLToPath } from 'node:url'
import type { StsCall } from '../../sandbox/aws/client.ts'
import { trustWebIdentity } from '../../sandbox/aws/policies.ts'
import type { KubeObject } from '../../sandbox/kube/objects/objects.ts'
import { Hopeless } from '../../support/until.ts'
import { got } from '../ask-broker.ts'
import { ask, type LivePod, readyPod, readyPods, refOf } from '../cluster-pods.ts'
import { type ChartValues, type Context, namespaceOf, valuesOf } from '../context.ts'
import { CLIENT, clients, expectServed } from '../load.ts'
import { FEDERATED } from '../namespaces.ts'
import { pod2iam } from '../operator-program.ts'
import { labelsOf, podObject, replicated } from '../pods.ts'
import { expect, type Group, LeftOut, until } from '../promise.ts'
import { guardsReady, injectorReady } from '../rollout.ts'
import { refusal } from './refusals.ts'
import { ownCredentials } from './workloads.ts'

const AUDIENCE = 'sts.amazonaws.com'
const ACCOUNT = 'orders'
const POLICIES = 'iam.amazonaws.com/session-policy-arns'
const METADATA = 'http://169.254.169.254/latest/meta-data/'
const CONTAINER_CREDENTIALS = 'http://127.0.0.1:9169/container-credentials'
const ASSUME = fileURLToPath(new URL('../../e2e/assume.ts', import.meta.url))
/** On the host network; the second needs the node's role, the operator says. */
const HOST_APP = 'host-app'
const HOST_AGENT = 'host-agent'

export const identities: Group = {
  title: 'Identities beyond the node role, and pods on the host network',
  leftOut,
  prepare: async (context) => {
    await federate(context)
    await apply(context, 'audit')
  },
  promises: [
    {
      name: 'a pod with web identity gets its role with a token of its own',
      show: (context) => federatedPod(context, 'by-token', { role: federatedRole(context) }),
    },
    {
      name: 'a pod without annotation gets the role of its service account',
      show: (context) => federatedPod(context, 'by-account', { spec: { serviceAccountName: ACCOUNT } }),
    },
    {
      name: 'root on the node cannot assume the role of web identity with the node role',
      leftOut: ({ access }) =>
        access.runOnNode === undefined ? 'the test cannot run scripts on these nodes' : undefined,
      show: rootOnNode,
    },
    { name: 'session policies narrow the session of one pod, and cannot be changed', show: narrowed },
    {
      name: 'a program that knows only container credentials gets them, and nobody without the secret does',
      show: contained,
    },
    {
      name: 'guard.hostNetwork=audit lets pods on the host network through, and the operator’s program names them',
      show: audited,
    },
    {
      name: 'guard.hostNetwork=block refuses pods on the host network that are not allowed, and never the node',
      show: blocked,
    },
    {
      name: 'after the settings are reset, clients are served and pods on the host network are let through',
      show: settingsReset,
    },
  ],
}

function leftOut({ options, aws, access }: Context): string | undefined {
  if (options.dry) return 'test/e2e and test/firewall show it in the sandbox'
  if (options.installed) return 'the installed pod2iam is left as it is'
  return aws.control === undefined
    ? 'the test makes roles and OIDC providers in the stand-in of AWS only'
    : access.installation.fixedValues
}

const federatedRole = ({ aws }: Pick<Context, 'aws'>) => `${aws.baseRoleArn}${FEDERATED}`

/** Calls an operation of every node's AWS. */
function control<T>({ aws }: Context, operation: string, argument?: object): Promise<T[]> {
  if (aws.control === undefined) throw new LeftOut('only with the stand-in of AWS')
  return aws.control<T>(operation, argument)
}

/** An OIDC provider with the keys that this cluster publishes, a role that trusts one namespace, and that role at a service account. */
async function federate(context: Context): Promise<void> {
  const { access, run } = context
  const { issuer } = await access.kube.raw<{ issuer: string }>('/.well-known/openid-configuration')
  const jwks = await access.kube.raw('/openid/v1/jwks')
  const providers = await control<{ arn: string }>(context, 'putOidcProvider', {
    ...{ issuer, clientIds: [AUDIENCE], keys: { jwks } },
  })
  const namespace = namespaceOf(run, 'federated')
  const trustPolicy = trustWebIdentity({
    provider: providers[0]?.arn ?? '',
    subject: `system:serviceaccount:${namespace}:*`,
  })
  await control(context, 'putRole', { arn: federatedRole(context), trustPolicy })
  await access.kube.create({
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: {
      name: ACCOUNT,
      namespace,
      labels: labelsOf(run),
      annotations: { 'eks.amazonaws.com/role-arn': federatedRole(context) },
    },
  } as KubeObject)
}

async function apply(context: Context, hostNetwork: 'audit' | 'block'): Promise<void> {
  const more: ChartValues = {
    policy: { serviceAccountRoles: true },
    broker: { credentialSources: ['node-role', 'web-identity'] },
    guard: {
      hostNetwork,
      hostNetworkAllowed: [`${namespaceOf(context.run, 'plain')}/${HOST_AGENT}-*`],
    },
  }
  await context.access.installation.apply(valuesOf(context, { revision: hostNetwork, more }))
  await Promise.all([guardsReady(context), injectorReady(context)])
}

const callsFor = async (context: Context, { metadata }: LivePod): Promise<StsCall[]> => {
  const session = `${metadata.namespace}.${metadata.name}`
  const calls = (await control<StsCall[]>(context, 'calls')).flat()
  return calls.filter((call) => call.session === session)
}

async function federatedPod(
  context: Context,
  app: string,
  how: { role?: string; spec?: Record<string, unknown> },
): Promise<string> {
  const { access, run, aws } = context
  await access.kube.create(podObject(run, { app, place: 'federated', ...how }))
  const pod = await readyPod(context, 'federated', app)
  const arn = await aws.identify(JSON.parse(await ask(context, refOf(pod), ['credentials'])))
  const { namespace, name } = refOf(pod)
  expect(
    arn?.endsWith(`:assumed-role/${FEDERATED}/${namespace}.${name}`) === true,
    `it is ${arn ?? 'nobody AWS knows'}`,
  )
  const [call, ...more] = await callsFor(context, pod)
  const said = `${call?.action}${call?.signed ? ', signed' : ', not signed'}, for ${call?.caller}`
  expect(
    call?.action === 'AssumeRoleWithWebIdentity' && !call.signed && more.length === 0,
    `STS was asked ${more.length + 1} times: ${said}`,
  )
  return said
}

/** Uses the AWS SDK on the node, as somebody who has broken out of a container: AWS grants the node's own roles, but not that one. */
async function rootOnNode(context: Context): Promise<string> {
  const { access, aws } = context
  const pod = await readyPod(context, 'federated', 'by-token')
  const { nodeName = '' } = pod.spec
  const roles = [federatedRole(context), aws.role].join(' ')
  const env = `AWS_REGION=eu-west-1 AWS_ENDPOINT_URL_STS=${aws.stsUrl}`
  const script = `answers=$(${env} '${process.execPath}' '${ASSUME}' ${roles})
[ "$answers" = AccessDenied,yes ] || { echo "STS answered: $answers" >&2; exit 1; }
`
  await access.runOnNode?.(nodeName, script)
  return `${nodeName}: AccessDenied; the role that trusts the node: yes`
}

async function narrowed(context: Context): Promise<string> {
  const { access, run, aws } = context
  const policy = aws.role.replace(/:role\/.*$/, ':policy/pod2iam-test-nothing')
  await control(context, 'putManagedPolicy', { arn: policy, statements: [] })
  const annotations = { [POLICIES]: JSON.stringify([policy]) }
  await access.kube.create(podObject(run, { app: 'narrowed', place: 'shop', role: aws.role, annotations }))
  const pod = await readyPod(context, 'shop', 'narrowed')
  await ownCredentials(context, pod)
  const [call] = await callsFor(context, pod)
  expect(call?.policyArns.join() === policy, `STS was asked with ${call?.policyArns.join() || 'no policy'}`)
  const { namespace, name } = refOf(pod)
  for (const value of [null, '[]']) {
    const patch = { metadata: { annotations: { [POLICIES]: value } } }
    await refusal(access.kube.patch('pods', name, namespace, patch), /cannot be changed/)
  }
  return `${policy}; the annotation of the living pod cannot be changed`
}

async function contained(context: Context): Promise<string> {
  const { access, run, aws } = context
  const annotations = { 'pod2iam.dev/redirect': 'env', 'pod2iam.dev/container-credentials': 'on' }
  await access.kube.create(podObject(run, { app: 'contained', place: 'shop', role: aws.role, annotations }))
  const pod = await readyPod(context, 'shop', 'contained')
  const document = JSON.parse(await ask(context, refOf(pod), ['container-credentials']))
  const arn = await aws.identify(document)
  const role = aws.role.replace(/^.*\//, '')
  expect(arn?.includes(`:assumed-role/${role}/`) === true, `it is ${arn ?? 'nobody AWS knows'}`)
  const without = await got(context, pod, CONTAINER_CREDENTIALS)
  expect(without.status === 401, `without its secret it is answered ${without.status}`)
  return `${arn}; without the secret 401`
}

/** Status of an answer of the node's metadata service to each pod, or the error of the connection, by node. */
async function reached(context: Context, app: string): Promise<Map<string, string>> {
  const answers = (await readyPods(context, 'plain', app)).map(async (pod): Promise<[string, string]> => {
    const { status, error } = await got(context, pod, METADATA)
    return [pod.spec.nodeName ?? '', error ?? String(status)]
  })
  return new Map(await Promise.all(answers))
}

const joined = (answers: Map<string, string>) => [...answers.values()].join(', ')

type Node = {
  readonly node: string
  readonly hostNetwork: { readonly mode: string; readonly verified: boolean; readonly detail?: string } | null
}

/**
 * Waits until the guard of every node has proven its rules about the host network.
 *
 * @throws {LeftOut} with the guard's own sentence if nodes have cgroup v1
 */
async function watched(context: Context, mode: 'audit' | 'block'): Promise<void> {
  await until(context, `rules about the host network in mode ${mode} on every node`, async () => {
    const { data } = await pod2iam<{ nodes: readonly Node[] }>(context, 'status')
    const details = data.nodes.map(
      ({ node, hostNetwork }) => `${node}: ${hostNetwork?.detail ?? hostNetwork?.mode}`,
    )
    if (data.nodes.length > 0 && details.every((detail) => detail.includes('has cgroup v1')))
      throw new Hopeless(details[0] ?? '')
    if (data.nodes.every(({ hostNetwork }) => hostNetwork?.mode === mode && hostNetwork.verified)) return true
    throw new Error(details.join('; '))
  }).catch((error: unknown) => {
    throw error instanceof Hopeless ? new LeftOut(error.message) : error
  })
}

async function audited(context: Context): Promise<string> {
  const { access, run } = context
  const spec = { hostNetwork: true, tolerations: [{ operator: 'Exists' }] }
  for (const app of [HOST_APP, HOST_AGENT])
    await access.kube.create(replicated(run, 'DaemonSet', { app, place: 'plain', spec }))
  await watched(context, 'audit')
  for (const app of [HOST_APP, HOST_AGENT])
    for (const [node, answer] of await reached(context, app))
      expect(answer === '200', `${app} on ${node} is answered ${answer}`)
  type Seen = { readonly node: string; readonly name: string; readonly allowed: boolean }
  return until(context, 'their names in the audit', async () => {
    const { data } = await pod2iam<{ hostNetwork: readonly Seen[] }>(context, 'audit')
    const ours = (app: string) => data.hostNetwork.filter(({ name }) => name.startsWith(`${app}-`))
    const [apps, agents] = [ours(HOST_APP), ours(HOST_AGENT)]
    const { items } = await access.kube.list('nodes')
    const isRight = apps.every(({ allowed }) => !allowed) && agents.every(({ allowed }) => allowed)
    if (apps.length < items.length || agents.length < items.length || !isRight)
      throw new Error(`the audit has ${JSON.stringify(data.hostNetwork)}`)
    return `${apps.map(({ name }) => name).join(', ')}: not allowed; ${agents.length} allowed`
  })
}

async function blocked(context: Context): Promise<string> {
  await apply(context, 'block')
  await watched(context, 'block')
  // A pod that is known to be allowed is let through a moment after the rules stand.
  const agents = await until(context, 'the way of the allowed pods', async () => {
    const answers = await reached(context, HOST_AGENT)
    if (![...answers.values()].every((answer) => answer === '200')) throw new Error(joined(answers))
    return answers
  })
  const apps = await reached(context, HOST_APP)
  for (const [node, answer] of apps)
    expect(answer === 'ECONNREFUSED', `${HOST_APP} on ${node} is answered ${answer}`)
  const { runOnNode } = context.access
  const script = `'${process.execPath}' -e 'fetch("${METADATA}").then(({ status }) => process.exit(status === 200 ? 0 : 1))'\n`
  for (const node of apps.keys()) await runOnNode?.(node, script)
  const host = runOnNode === undefined ? '' : '; the nodes themselves: 200'
  return `${HOST_APP}: ${joined(apps)}; ${HOST_AGENT}: ${joined(agents)}${host}`
}

async function settingsReset(context: Context): Promise<string> {
  const { access, run } = context
  await access.installation.apply(valuesOf(context))
  await Promise.all([guardsReady(context), injectorReady(context)])
  const pods = await access.kube.list('daemonsets', { namespace: namespaceOf(run, 'plain') })
  if (pods.items.some(({ metadata }) => metadata.name === HOST_APP))
    await until(context, 'the end of the rules about the host network', async () => {
      const answers = await reached(context, HOST_APP)
      if (![...answers.values()].every((answer) => answer === '200')) throw new Error(joined(answers))
      return true
    })
  for (const app of [HOST_APP, HOST_AGENT])
    await access.kube.delete('daemonsets', app, namespaceOf(run, 'plain')).catch(() => undefined)
  await readyPods(context, CLIENT.place, CLIENT.app)
  return expectServed(context, await clients(context))
}
