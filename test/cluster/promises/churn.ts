/** Many short Jobs, each of which needs credentials with its first instruction and has no retries. */
import type { KubeObject } from '../../sandbox/kube/objects/objects.ts'
import { podsOf, terminationMessage } from '../cluster-pods.ts'
import { type Context, namespaceOf } from '../context.ts'
import { jobObject } from '../pods.ts'
import type { OnceReport } from '../programs/reports.ts'
import { expect, type Group, until } from '../promise.ts'

type Job = KubeObject & {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] }
}

/** In turns, because a pod starts differently in each of them. */
const MODES = ['nft', 'env'] as const

/** Seconds that a Job may take on average before the test gives up. */
const SECONDS_PER_JOB = 5

export const churn: Group = {
  title: 'Churn',
  promises: [
    {
      name: 'the first request of every short Job is answered',
      show: async (context) => {
        const reports = await runJobs(context)
        const failed = reports.filter(({ accessKeyId }) => accessKeyId === undefined)
        const { jobs } = context.options
        expect(failed.length === 0, `${failed.length} of ${jobs} failed; the first: ${failed[0]?.problem}`)
        const keys = new Set(reports.map(({ accessKeyId }) => accessKeyId))
        expect(keys.size === jobs, `${jobs} Jobs had ${keys.size} sessions: pods shared one`)
        const slowest = Math.max(...reports.map(({ milliseconds }) => milliseconds))
        return `${jobs} Jobs, every other one in redirect mode env, 0 failures; slowest first answer ${slowest} ms, token and list included`
      },
    },
  ],
}

async function runJobs(context: Context): Promise<OnceReport[]> {
  const { access, options, run, aws } = context
  const namespace = namespaceOf(run, 'shop')
  const labelSelector = 'app=churn'
  let made = 0
  await until(
    context,
    `the end of ${options.jobs} Jobs`,
    async () => {
      const { items } = await access.kube.list<Job>('jobs', { namespace, labelSelector })
      const running = items.filter((job) => !isFinished(job)).length
      const more = Math.min(options.jobs - made, options.parallel - running)
      for (let index = 0; index < more; index++) {
        const annotations = { 'pod2iam.dev/redirect': MODES[made % MODES.length] ?? '' }
        const workload = {
          app: 'churn',
          mode: 'credentials',
          place: 'shop',
          role: aws.role,
          annotations,
        } as const
        const job = jobObject(run, workload)
        await access.kube.create({ ...job, metadata: { ...job.metadata, name: `churn-${++made}` } })
      }
      return made === options.jobs && running === 0 && more === 0
    },
    options.waitSeconds + options.jobs * SECONDS_PER_JOB,
  )
  const pods = await podsOf(context, namespace, labelSelector)
  expect(pods.length === options.jobs, `${options.jobs} Jobs made ${pods.length} pods`)
  return pods.map((pod) => {
    const words = terminationMessage(pod, 'app')
    return words ? JSON.parse(words) : { milliseconds: 0, problem: `${pod.metadata.name} left no report` }
  })
}

function isFinished({ status }: Job): boolean {
  return (status?.conditions ?? []).some(
    ({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True',
  )
}
