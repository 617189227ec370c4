import { isObject, type JsonObject } from '../json.ts'

const WORKLOADS = new Set([
  'apps/deployments',
  'apps/statefulsets',
  'apps/daemonsets',
  'apps/replicasets',
  'batch/jobs',
  'batch/cronjobs',
  'replicationcontrollers',
])

/** Whether a resource (`apps/deployments`) makes pods from a template. */
export function hasPodTemplate(resource: string): boolean {
  return WORKLOADS.has(resource)
}

/** The pod that a workload's template describes, or undefined if there is none. */
export function podOfTemplate(workload: unknown): JsonObject | undefined {
  if (!isObject(workload) || !isObject(workload.spec)) return undefined
  const { jobTemplate } = workload.spec
  const { template } = isObject(jobTemplate) && isObject(jobTemplate.spec) ? jobTemplate.spec : workload.spec
  return isObject(template) ? { apiVersion: 'v1', kind: 'Pod', ...template } : undefined
}
