/** Every kind of workload gets its own credentials. */
import type { LivePod } from '../cluster-pods.ts'
import { ask, endedPod, readyPod, readyPods, refOf, terminationMessage } from '../cluster-pods.ts'
import { type Context, namespaceOf, type Place } from '../context.ts'
import { container, jobObject, jobSpec, labelsOf, podObject, replicated } from '../pods.ts'
import type { CredentialDocument, OnceReport } from '../programs/reports.ts'
import { expect, type Group, type Promised } from '../promise.ts'

type Kind = {
  readonly app: string
  readonly name: string
  readonly place?: Place
  readonly check: (context: Context, kind: Kind) => Promise<string>
}

const KINDS: readonly Kind[] = [
  { app: 'deployment', name: 'a Deployment’s pods', check: running },
  { app: 'statefulset', name: 'a StatefulSet’s pods', check: running },
  { app: 'daemonset', name: 'a DaemonSet’s pods, on every node', check: running },
  { app: 'pod', name: 'a bare pod', check: running },
  { app: 'job', name: 'a Job, with its first instruction', check: ended },
  { app: 'cronjob', name: 'a Job of a CronJob', check: ended },
  { app: 'init', name: 'an init container, with its first instruction', check: initialised },
  {
    app: 'strict',
    name: 'a pod in a restricted namespace, in mode env',
    place: 'strict',
    check: byEnvironment,
  },
  { app: 'every', name: 'a pod without annotation in an `all` namespace', place: 'every', check: running },
]

export const workloads: Group = {
  title: 'Workloads of every kind have their own credentials',
  prepare: async (context) => {
    const { access, run, aws, options } = context
    const replicas = options.dry ? 1 : 2
    const workload = (app: string, mode = 'idle') => ({ app, mode, place: 'shop' as const, role: aws.role })
    const init = { initContainers: [container(run, 'credentials', 'first')] }
    const objects = [
      replicated(run, 'Deployment', workload('deployment'), replicas),
      replicated(run, 'StatefulSet', workload('statefulset'), 2),
      replicated(run, 'DaemonSet', {
        ...workload('daemonset'),
        spec: { tolerations: [{ operator: 'Exists' }] },
      }),
      podObject(run, workload('pod')),
      jobObject(run, workload('job', 'credentials')),
      podObject(run, { ...workload('init'), spec: init }),
      podObject(run, { ...workload('strict'), place: 'strict' }),
      podObject(run, { app: 'every', place: 'every' }),
    ]
    await Promise.all([...objects.map((object) => access.kube.create(object)), triggerCronJob(context)])
  },
  promises: KINDS.map(
    (kind): Promised => ({ name: kind.name, show: (context) => kind.check(context, kind) }),
  ),
}

/** Creates a CronJob and, as `kubectl create job --from` does, a Job of its template, instead of waiting for the schedule. */
async function triggerCronJob({ access, run, aws }: Context): Promise<void> {
  const spec = jobSpec(run, { app: 'cronjob', mode: 'credentials', place: 'shop', role: aws.role })
  const metadata = { name: 'cronjob', namespace: namespaceOf(run, 'shop'), labels: labelsOf(run, 'cronjob') }
  const cronJob = {
    apiVersion: 'batch/v1',
    kind: 'CronJob',
    metadata,
    // 30 February: the schedule never starts a Job.
    spec: { schedule: '0 0 30 2 *', jobTemplate: { metadata: { labels: metadata.labels }, spec } },
  }
  const { metadata: made, spec: stored } = await access.kube.create<
    typeof cronJob & { metadata: { uid?: string } }
  >(cronJob)
  const { apiVersion, kind } = cronJob
  const owner = { apiVersion, kind, name: 'cronjob', uid: made.uid ?? '', controller: true }
  await access.kube.create({
    apiVersion,
    kind: 'Job',
    metadata: { ...metadata, name: 'cronjob-by-hand', ownerReferences: [owner] },
    spec: stored.jobTemplate.spec,
  })
}

async function running(context: Context, { app, place = 'shop' }: Kind): Promise<string> {
  const pods = await readyPods(context, place, app)
  const keys = await Promise.all(pods.map((pod) => ownCredentials(context, pod)))
  expect(new Set(keys).size === pods.length, 'pods of one workload share a session')
  return pods.length === 1 ? 'one pod' : `${pods.length} pods, a session each`
}

/** What the pod gets is what AWS issued for its role and for this pod; returns the key's id. */
export async function ownCredentials(context: Context, pod: LivePod): Promise<string> {
  const document: CredentialDocument = JSON.parse(await ask(context, refOf(pod), ['credentials']))
  await expectOwn(context, pod, document)
  return document.AccessKeyId
}

async function expectOwn(
  { aws }: Context,
  pod: LivePod,
  document: Parameters<Context['aws']['identify']>[0],
): Promise<void> {
  const arn = await aws.identify(document)
  const role = aws.role.replace(/^.*\//, '')
  const { namespace } = refOf(pod)
  expect(
    arn?.includes(`:assumed-role/${role}/${namespace}.`) === true,
    `the credentials of ${namespace}/${pod.metadata.name} are those of ${arn ?? 'nobody AWS knows'}, not of role ${role} in a session of this namespace`,
  )
}

async function ended(context: Context, { app }: Kind): Promise<string> {
  const pod = await endedPod(context, 'shop', app)
  return await firstAnswer(context, pod, 'app')
}

async function initialised(context: Context, { app }: Kind): Promise<string> {
  const pod = await readyPod(context, 'shop', app)
  return await firstAnswer(context, pod, 'first')
}

async function firstAnswer(context: Context, pod: LivePod, name: string): Promise<string> {
  const report: OnceReport = JSON.parse(terminationMessage(pod, name) ?? '{"problem":"it left no report"}')
  expect(report.accessKeyId !== undefined, `its first request failed: ${report.problem}`)
  // Of a container that has ended only the key's id is known, and real AWS cannot look that up.
  if (context.aws.knowsKeys) await expectOwn(context, pod, { AccessKeyId: report.accessKeyId })
  return `after ${report.milliseconds} ms, token and list included`
}

async function byEnvironment(context: Context, kind: Kind): Promise<string> {
  const pod = await readyPod(context, 'strict', kind.app)
  const env = pod.spec.containers.find(({ name }) => name === 'app')?.env ?? []
  const endpoint = env.find(({ name }) => name === 'AWS_EC2_METADATA_SERVICE_ENDPOINT')?.value
  expect(endpoint === 'http://127.0.0.1:9169/', `its endpoint is ${endpoint ?? 'not set'}`)
  await ownCredentials(context, pod)
  return endpoint
}
