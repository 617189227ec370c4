/** PodSecurity admission: namespace labels, and where the checks apply (pod-security-admission/admission). */

import { isObject, type JsonObject, listAt, objectAt, stringAt } from '../objects/objects.ts'
import { fieldError, forbidden, invalid } from '../objects/status.ts'
import type { Store } from '../objects/store.ts'
import type { AdmissionRequest, ValidatingPlugin } from './admission.ts'
import { baselineChecks, type Check, restrictedChecks } from './pod-security-checks.ts'

const PREFIX = 'pod-security.kubernetes.io/'
const LEVELS = ['privileged', 'baseline', 'restricted']
const MODES = ['enforce', 'audit', 'warn'] as const
type Policy = Record<(typeof MODES)[number], { level: string; version: string }>

type Labels = Readonly<Record<string, string>>

/**
 * The policy of a namespace. Without labels of their own, warn and audit follow enforce (seen on Kubernetes 1.36:
 * a Deployment in a namespace that only enforces gets a warning).
 */
function policyOf(labels: Labels): Policy {
  const level = (mode: string, otherwise: string) => {
    const value = labels[`${PREFIX}${mode}`]
    if (value === undefined) return otherwise
    // An unknown level fails closed for enforce and open for the others.
    return LEVELS.includes(value) ? value : mode === 'enforce' ? 'restricted' : 'privileged'
  }
  const version = (mode: string, otherwise: string) => labels[`${PREFIX}${mode}-version`] ?? otherwise
  const enforce = { level: level('enforce', 'privileged'), version: version('enforce', 'latest') }
  const of = (mode: string) => ({
    level: level(mode, enforce.level),
    version: version(mode, enforce.version),
  })
  return { enforce, audit: of('audit'), warn: of('warn') }
}

function violations(level: string, metadata: JsonObject, spec: JsonObject): string | undefined {
  if (level === 'privileged') return undefined
  const checks: readonly Check[] =
    level === 'restricted'
      ? [
          ...baselineChecks.filter((check) => !restrictedChecks.some((r) => r.overrides === check.id)),
          ...restrictedChecks,
        ]
      : baselineChecks
  const found = checks.flatMap((check) => check.run(spec, metadata) ?? [])
  return found.length === 0
    ? undefined
    : found.map(({ reason, detail }) => `${reason} (${detail})`).join(', ')
}

/** The pod metadata and spec in an object, if it has any. */
function podOf(request: AdmissionRequest): { metadata: JsonObject; spec: JsonObject } | undefined {
  const { object, resource } = request
  if (object === undefined) return undefined
  if (resource.kind === 'Pod') return { metadata: object.metadata, spec: objectAt(object, 'spec') }
  const template =
    resource.kind === 'CronJob'
      ? objectAt(object, 'spec', 'jobTemplate', 'spec', 'template')
      : objectAt(object, 'spec', 'template')
  if (!isObject(template.spec)) return undefined
  return { metadata: objectAt(template, 'metadata'), spec: template.spec }
}

/** On update, only new images (and containers) are checked again. */
function significant(request: AdmissionRequest): boolean {
  if (request.operation === 'CREATE') return true
  const images = (object: unknown) =>
    ['containers', 'initContainers', 'ephemeralContainers']
      .flatMap((list) => listAt(object, 'spec', list))
      .map((container) => stringAt(container, 'image') ?? '')
      .join(' ')
  return request.resource.kind !== 'Pod' || images(request.object) !== images(request.oldObject)
}

function checkNamespace(request: AdmissionRequest): void {
  const { object, oldObject } = request
  if (request.subresource !== undefined || object === undefined) return
  const errors = MODES.flatMap((mode) => {
    const label = `${PREFIX}${mode}`
    const value = object.metadata.labels?.[label]
    if (value === undefined || LEVELS.includes(value) || value === oldObject?.metadata.labels?.[label])
      return []
    return [fieldError.invalid(`metadata.labels[${label}]`, value, `must be one of ${LEVELS.join(', ')}`)]
  })
  if (errors.length > 0) throw invalid('Namespace', '', request.name, errors)
}

const IGNORED_SUBRESOURCES = new Set(['binding', 'eviction', 'status'])

/** The pod (or template) to check, or undefined if there is none. */
function judged(request: AdmissionRequest): { metadata: JsonObject; spec: JsonObject } | undefined {
  const { operation, subresource, resource } = request
  if (operation !== 'CREATE' && operation !== 'UPDATE') return undefined
  const ignored =
    subresource !== undefined && (resource.kind !== 'Pod' || IGNORED_SUBRESOURCES.has(subresource))
  return ignored || !significant(request) ? undefined : podOf(request)
}

/** Runs after mutation; enforces on pods, and only warns about objects that create pods. */
export function podSecurity(store: Store): ValidatingPlugin {
  return (request) => {
    if (request.resource.plural === 'namespaces') return checkNamespace(request)
    const pod = judged(request)
    if (pod === undefined) return
    const namespace = store.get({ group: '', plural: 'namespaces' }, undefined, request.namespace ?? '')
    const policy = policyOf(namespace?.metadata.labels ?? {})
    const run = ({ level, version }: { level: string; version: string }) => {
      const found = violations(level, pod.metadata, pod.spec)
      return found === undefined ? undefined : `PodSecurity "${level}:${version}": ${found}`
    }
    const enforced = request.resource.kind === 'Pod' ? run(policy.enforce) : undefined
    const audited = run(policy.audit)
    if (audited !== undefined) request.audit(`${PREFIX}audit-violations`, `would violate ${audited}`)
    const name = request.object?.metadata.name ?? ''
    if (enforced !== undefined) throw forbidden(request.resource, name, `violates ${enforced}`)
    const warned = run(policy.warn)
    if (warned !== undefined) request.warn(`would violate ${warned}`)
  }
}
