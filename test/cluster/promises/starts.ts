/**
 * What a pod's start costs: plain pods and injected ones are started in turns, one at a time. It is a measurement, made only with
 * `--starts`; what it promises is credentials.
 */
import { endedPod, type LivePod, refOf, terminationMessage } from '../cluster-pods.ts'
import type { Context, Place } from '../context.ts'
import { startKube2iam } from '../kube2iam.ts'
import { podObject, type Workload } from '../pods.ts'
import type { StartReport } from '../programs/reports.ts'
import { expect, type Group } from '../promise.ts'

type Kind = {
  readonly name: string
  readonly place: Place
  readonly redirect?: 'nft' | 'env'
  /** A role without our sidecar: what kube2iam's users have. */
  readonly kube2iam?: true
}

const KINDS: readonly Kind[] = [
  { name: 'plain', place: 'plain' },
  { name: 'nft', place: 'shop', redirect: 'nft' },
  { name: 'env', place: 'shop', redirect: 'env' },
]

const KUBE2IAM: Kind = { name: 'kube2iam', place: 'plain', kube2iam: true }

/** Milliseconds from just before a pod's creation. */
type Start = {
  readonly first: number
  readonly credentials: number | undefined
  readonly waited: number
}

export const starts: Group = {
  title: 'Starts',
  promises: [
    {
      name: 'every pod, started one at a time, has credentials with its first request',
      show: async (context) => {
        const { starts, compareWith: program } = context.options
        const kube2iam = program === undefined ? undefined : await startKube2iam(context, program)
        const kinds = kube2iam === undefined ? KINDS : [...KINDS, KUBE2IAM]
        const found = new Map<string, Start[]>(kinds.map(({ name }) => [name, []]))
        for (let turn = 0; turn < starts; turn++)
          for (const kind of kinds) {
            if (kind.kube2iam) await kube2iam?.setRule(true)
            found.get(kind.name)?.push(await startOne(context, kind, turn))
            if (kind.kube2iam) await kube2iam?.setRule(false)
          }
        await kube2iam?.stop()
        return [...found].map(([name, all]) => `${name}: ${describeStarts(all)}`).join('; ')
      },
    },
  ],
}

async function startOne(context: Context, kind: Kind, turn: number): Promise<Start> {
  const { name, place, redirect, kube2iam } = kind
  const { access, aws, run } = context
  const app = `start-${name}-${turn}`
  const workload: Workload = {
    ...{ app, place, mode: 'start' },
    ...(redirect === undefined && !kube2iam ? {} : { role: aws.role }),
    ...(redirect === undefined ? {} : { annotations: { 'pod2iam.dev/redirect': redirect } }),
    spec: { restartPolicy: 'Never' },
  }
  const pod = podObject(run, workload)
  if (redirect === undefined && !kube2iam) asksForNothing(pod)
  const createdAt = Date.now()
  await access.kube.create(pod)
  const ended = await endedPod(context, place, app)
  await access.kube.delete('pods', refOf(ended).name, refOf(ended).namespace)
  return startOf(ended, createdAt)
}

function asksForNothing(pod: object): void {
  const { spec } = pod as { spec: { containers: { command: string[] }[] } }
  for (const { command } of spec.containers) command.push('plain')
}

function startOf(pod: LivePod, createdAt: number): Start {
  const words = terminationMessage(pod, 'app') ?? ''
  expect(words !== '', `${pod.metadata.name} left no report`)
  const { startedAt, credentialsAt, waited, problem }: StartReport = JSON.parse(words)
  expect(problem === undefined, `${pod.metadata.name}: ${problem}`)
  const credentials = credentialsAt === undefined ? undefined : credentialsAt - createdAt
  return { first: startedAt - createdAt, credentials, waited }
}

/** Median, 95th percentile and maximum of each, in milliseconds. */
function describeStarts(all: readonly Start[]): string {
  const of = (values: readonly number[]) => {
    const sorted = [...values].sort((a, b) => a - b)
    const at = (share: number) =>
      Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0)
    return `${at(0.5)} (p95 ${at(0.95)}, most ${at(1)})`
  }
  const credentials = all.flatMap(({ credentials }) => (credentials === undefined ? [] : [credentials]))
  const first = `first instruction ${of(all.map(({ first }) => first))}`
  if (credentials.length === 0) return first
  return `${first}, credentials ${of(credentials)}, the app's own wait ${of(all.map(({ waited }) => waited))}`
}
