/**
 * AWS on every node of a cluster outside EC2: a privileged DaemonSet on the host network (node-side.ts), in an image with
 * Node and iproute2, such as the node guard's. Each node has an AWS of its own; roles are the same in all of them.
 */

import type { SessionInfo } from '../../sandbox/aws/model.ts'
import { trust } from '../../sandbox/aws/policies.ts'
import type { KubeObject } from '../../sandbox/kube/objects/objects.ts'
import { describePod, isReady } from '../../sandbox/node/pod-predicates.ts'
import { Hopeless } from '../../support/until.ts'
import { type LivePod, podsOf, refOf } from '../cluster-pods.ts'
import { type Context, namespaceOf, type Run } from '../context.ts'
import { makeNamespace } from '../namespaces.ts'
import { labelsOf, namespaceObject, WHERE_THE_GUARD_IS } from '../pods.ts'
import { until } from '../promise.ts'
import type { AwsSide } from './aws-side.ts'
import { REFUSED } from './refused.ts'

const APP = 'aws-stand-in'
const DIRECTORY = '/opt/pod2iam-aws'
const STS_URL = 'http://169.254.171.2'
const BASE = 'arn:aws:iam::111111111111:role/'
const NODE_ROLE = `${BASE}node`
const ROLES = [`${BASE}orders`, `${BASE}billing`] as const

type World = Pick<Context, 'access' | 'run' | 'options' | 'signal'>

/**
 * Installs it and creates two roles that trust the node role.
 *
 * @param options.replace even if something answers at the metadata address already
 */
export async function installStandIn(world: World, options: { replace: boolean }): Promise<AwsSide> {
  const { access, run } = world
  await makeNamespace(world, namespaceObject(run, namespaceOf(run, 'aws')))
  for (const object of objects(run, options.replace)) await access.kube.create(object)
  const pods = await ready(world)
  const call = async <T>(pod: LivePod, operation: string, argument: object = {}): Promise<T> => {
    const argv = [run.node, `${DIRECTORY}/stand-in.cjs`, 'call', operation, JSON.stringify(argument)]
    const { code, stdout, stderr } = await access.exec(refOf(pod), 'aws', argv)
    if (code !== 0) throw new Error(`the stand-in refused ${operation}: ${stdout}${stderr}`)
    return JSON.parse(stdout)
  }
  const onAll = async <T>(operation: string, argument?: object) =>
    Promise.all((await ready(world)).map((pod) => call<T>(pod, operation, argument)))
  const [role, otherRole] = ROLES
  return {
    title: `a stand-in of AWS on ${pods.length === 1 ? 'the node' : `each of ${pods.length} nodes`}`,
    baseRoleArn: BASE,
    role,
    otherRole,
    brokerEnvironment: [{ name: 'AWS_ENDPOINT_URL_STS', value: STS_URL }],
    nodeAddresses: ['169.254.171.1', 'fd00:70d2:1b::1', ...addressesOf(pods)],
    knowsKeys: true,
    control: onAll,
    stsUrl: STS_URL,
    identify: async ({ AccessKeyId }) => {
      const sessions = (await onAll<SessionInfo[]>('sessions')).flat()
      return sessions.find(({ accessKeyId }) => accessKeyId === AccessKeyId)?.arn
    },
    setStsAvailable: async (available) => {
      await (available
        ? onAll('clearFaults')
        : onAll('fault', { service: 'sts', kind: 'unavailable', action: 'AssumeRole' }))
    },
    visitors: async () => (await onAll<object>('imdsConnections')).flatMap(Object.keys),
    forgetVisitors: async () => {
      await onAll('clearRecords')
    },
  }
}

/**
 * A node's own addresses. It connects from one of these if it first tried before the stand-in's link existed (after a boot): the kernel chose
 * the address of the default route then, and keeps it when it retries.
 */
function addressesOf(pods: readonly LivePod[]): string[] {
  return pods.flatMap(({ status }) => (status?.hostIPs ?? []).map(({ ip }) => ip))
}

function ready(world: World): Promise<LivePod[]> {
  const namespace = namespaceOf(world.run, 'aws')
  return until(world, 'AWS’s stand-in on every node', async () => {
    type DaemonSet = KubeObject & { status?: { desiredNumberScheduled?: number } }
    const { status } = await world.access.kube.get<DaemonSet>('daemonsets', APP, namespace)
    const pods = await podsOf(world, namespace, `app=${APP}`)
    const unready = pods.filter((pod) => !isReady(pod))
    for (const pod of unready) giveUpWhereRefused(pod)
    if (unready[0] !== undefined) throw new Error(describePod(unready[0]))
    return pods.length > 0 && pods.length === status?.desiredNumberScheduled && pods
  })
}

/** The stand-in refuses to replace what answers there, however often it is started. */
function giveUpWhereRefused({ status, spec }: LivePod): void {
  for (const { state, lastState } of status?.containerStatuses ?? [])
    for (const each of [state, lastState])
      if ('terminated' in each && each.terminated?.exitCode === REFUSED)
        throw new Hopeless(`${spec.nodeName}: ${each.terminated.message?.trim()}`)
}

function objects(run: Run, replace: boolean): KubeObject[] {
  const namespace = namespaceOf(run, 'aws')
  const metadata = { name: APP, namespace, labels: labelsOf(run, APP) }
  const data = { 'stand-in.cjs': run.programs.standIn, 'aws.cjs': run.programs.aws }
  const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } })
  const script = [run.node, `${DIRECTORY}/stand-in.cjs`]
  const roles = ROLES.map((arn) => ({ arn, trustPolicy: trust({ principal: NODE_ROLE }) }))
  const container = {
    name: 'aws',
    image: run.image,
    command: [...script, 'serve'],
    env: [
      { name: 'REPLACE', value: String(replace) },
      { name: 'AWS_PROGRAM', value: `${DIRECTORY}/aws.cjs` },
      { name: 'ROLES', value: JSON.stringify(roles) },
      field('HOST_IP', 'status.hostIP'),
    ],
    readinessProbe: { exec: { command: [...script, 'call', 'counts'] }, periodSeconds: 2, timeoutSeconds: 5 },
    // `ip netns` mounts the namespaces that it creates.
    securityContext: { privileged: true, runAsUser: 0 },
    terminationMessagePolicy: 'FallbackToLogsOnError',
    volumeMounts: [
      { name: 'programs', mountPath: DIRECTORY, readOnly: true },
      // Distroless has no such directory, and `ip` creates only its last part.
      { name: 'netns', mountPath: '/var/run/netns' },
    ],
  }
  const spec = {
    hostNetwork: true,
    automountServiceAccountToken: false,
    tolerations: [{ operator: 'Exists' }],
    ...WHERE_THE_GUARD_IS,
    terminationGracePeriodSeconds: 10,
    containers: [container],
    volumes: [
      { name: 'programs', configMap: { name: APP } },
      { name: 'netns', emptyDir: {} },
    ],
  }
  const template = { metadata: { labels: labelsOf(run, APP) }, spec }
  const selector = { matchLabels: { app: APP } }
  return [
    { apiVersion: 'v1', kind: 'ConfigMap', metadata, data },
    { apiVersion: 'apps/v1', kind: 'DaemonSet', metadata, spec: { selector, template } },
  ]
}
