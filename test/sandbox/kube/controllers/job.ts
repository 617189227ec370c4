/** Job: pods until enough of them have succeeded, or too many have failed. */

import { type JsonObject, type KubeObject, listAt, objectAt, timestamp } from '../objects/objects.ts'
import { resourceNamed } from '../objects/resources.ts'
import { type Actor, isReady, isTerminating, phaseOf, podsOf } from './controller-context.ts'

const JOBS = resourceNamed('jobs')
const PODS = resourceNamed('pods')

function podFor(job: KubeObject) {
  const template = objectAt(job, 'spec', 'template')
  const metadata = { ...objectAt(template, 'metadata'), generateName: `${job.metadata.name}-` }
  return { metadata, spec: objectAt(template, 'spec') }
}

function finished(type: 'Complete' | 'Failed', reason: string, message: string, now: number): JsonObject[] {
  const at = timestamp(now)
  const early = type === 'Complete' ? 'SuccessCriteriaMet' : 'FailureTarget'
  return [early, type].map((one) => ({
    type: one,
    status: 'True',
    reason,
    message,
    lastProbeTime: at,
    lastTransitionTime: at,
  }))
}

const isFinished = (job: KubeObject) =>
  listAt(job, 'status', 'conditions').some(
    (c) => ['Complete', 'Failed'].includes(String(c.type)) && c.status === 'True',
  )

export async function reconcileJob(actor: Actor, job: KubeObject): Promise<void> {
  if (isTerminating(job) || isFinished(job)) return
  const spec = objectAt(job, 'spec')
  const completions = Number(spec.completions ?? 1)
  const pods = podsOf(actor.store, job)
  const of = (phase: string) => pods.filter((pod) => phaseOf(pod) === phase)
  const [succeeded, failed] = [of('Succeeded').length, of('Failed').length]
  const active = pods.filter((pod) => !isTerminating(pod) && !['Succeeded', 'Failed'].includes(phaseOf(pod)))
  const status: JsonObject = {
    startTime: objectAt(job, 'status').startTime ?? timestamp(actor.now()),
    succeeded,
    failed,
    active: active.length,
    ready: active.filter(isReady).length,
    terminating: pods.filter(isTerminating).length,
  }
  if (succeeded >= completions) {
    const at = actor.now()
    const message = 'Reached expected number of succeeded pods'
    await actor.setStatus(JOBS, job, {
      ...status,
      completionTime: timestamp(at),
      conditions: finished('Complete', 'CompletionsReached', message, at),
    })
    return
  }
  if (failed > Number(spec.backoffLimit ?? 6)) {
    for (const pod of active) await actor.remove(PODS, pod)
    const message = 'Job has reached the specified backoff limit'
    const conditions = finished('Failed', 'BackoffLimitExceeded', message, actor.now())
    await actor.setStatus(JOBS, job, { ...status, active: 0, conditions })
    return
  }
  const wanted = spec.suspend === true ? 0 : Math.min(Number(spec.parallelism ?? 1), completions - succeeded)
  for (let count = active.length; count < wanted; count++) await actor.createPod(job, podFor(job))
  await actor.setStatus(JOBS, job, { ...status, active: Math.max(active.length, wanted) })
}
