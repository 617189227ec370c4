/** Validation of any object: its name, and what the sandbox checks per kind. A real server answers violations with 422. */

import { compilationError } from './cel.ts'
import { DNS_LABEL, LABEL_TEXT, metadataErrors, SUBDOMAIN, SUBDOMAIN_TEXT } from './metadata-validation.ts'
import { type JsonObject, type KubeObject, listAt, objectAt, sameJson, stringAt } from './objects.ts'
import { podErrors, podUpdateErrors, templateErrors } from './pod-validation.ts'
import type { Resource } from './resources.ts'
import { type FieldError, fieldError } from './status.ts'

function nameErrors(resource: Resource, object: KubeObject): FieldError[] {
  const { name = '', generateName } = object.metadata
  if (name === '' && generateName === undefined)
    return [fieldError.required('metadata.name', 'name or generateName is required')]
  if (resource.group === 'rbac.authorization.k8s.io')
    return name === '.' || name === '..' || /[/%]/.test(name)
      ? [fieldError.invalid('metadata.name', name, "may not contain '/'")]
      : []
  if (resource.plural === 'namespaces' || resource.plural === 'services')
    return DNS_LABEL.test(name) && name.length <= 63
      ? []
      : [fieldError.invalid('metadata.name', name, LABEL_TEXT)]
  if (name.length > 253) return [fieldError.invalid('metadata.name', name, 'must be no more than 253 bytes')]
  return SUBDOMAIN.test(name) ? [] : [fieldError.invalid('metadata.name', name, SUBDOMAIN_TEXT)]
}

function workloadErrors(object: KubeObject): FieldError[] {
  const spec = objectAt(object, 'spec')
  const errors = templateErrors(objectAt(spec, 'template'), 'spec.template')
  if (object.kind === 'Job') {
    const policy = stringAt(spec, 'template', 'spec', 'restartPolicy')
    if (policy === 'Always')
      errors.push(fieldError.unsupported('spec.template.spec.restartPolicy', policy, ['OnFailure', 'Never']))
    return errors
  }
  const labels = objectAt(spec, 'template', 'metadata', 'labels')
  const wanted = objectAt(spec, 'selector', 'matchLabels')
  if (spec.selector === undefined) errors.push(fieldError.required('spec.selector'))
  else if (Object.entries(wanted).some(([key, value]) => labels[key] !== value))
    errors.push(
      fieldError.invalid(
        'spec.template.metadata.labels',
        labels,
        '`selector` does not match template `labels`',
      ),
    )
  return errors
}

function conditionErrors(webhook: JsonObject, at: string): FieldError[] {
  return listAt(webhook, 'matchConditions').flatMap((condition, index) => {
    const expression = stringAt(condition, 'expression') ?? ''
    const problem = compilationError(expression)
    const field = `${at}.matchConditions[${index}].expression`
    return problem === undefined
      ? []
      : [fieldError.invalid(field, expression, `compilation failed: ERROR: ${problem}`)]
  })
}

function webhookEntryErrors(webhook: JsonObject, at: string): FieldError[] {
  const errors: FieldError[] = []
  const name = stringAt(webhook, 'name') ?? ''
  if (name.split('.').length < 3)
    errors.push(
      fieldError.invalid(
        `${at}.name`,
        name,
        'should be a domain with at least three segments separated by dots',
      ),
    )
  const effects = ['None', 'NoneOnDryRun']
  if (!effects.includes(stringAt(webhook, 'sideEffects') ?? ''))
    errors.push(fieldError.unsupported(`${at}.sideEffects`, webhook.sideEffects ?? '', effects))
  const versions = webhook.admissionReviewVersions
  if (!Array.isArray(versions) || versions.length === 0)
    errors.push(fieldError.required(`${at}.admissionReviewVersions`, 'must specify one of v1, v1beta1'))
  const timeout = webhook.timeoutSeconds
  if (typeof timeout !== 'number' || timeout < 1 || timeout > 30)
    errors.push(
      fieldError.invalid(
        `${at}.timeoutSeconds`,
        timeout,
        'the timeout value must be between 1 and 30 seconds',
      ),
    )
  const config = objectAt(webhook, 'clientConfig')
  if ((config.url === undefined) === (config.service === undefined))
    errors.push(fieldError.required(`${at}.clientConfig`, 'exactly one of url or service is required'))
  return errors
}

function webhookErrors(object: KubeObject): FieldError[] {
  const names = new Set<string>()
  return listAt(object, 'webhooks').flatMap((webhook, index) => {
    const at = `webhooks[${index}]`
    const name = stringAt(webhook, 'name') ?? ''
    const twice = names.has(name) ? [fieldError.duplicate(`${at}.name`, name)] : []
    names.add(name)
    return [...webhookEntryErrors(webhook, at), ...conditionErrors(webhook, at), ...twice]
  })
}

function newPodErrors(pod: KubeObject): FieldError[] {
  const born = listAt(pod, 'spec', 'ephemeralContainers').length > 0
  const forbidden = fieldError.forbidden('spec.ephemeralContainers', 'cannot be set on create')
  return [...podErrors(pod), ...(born ? [forbidden] : [])]
}

const BY_KIND: Readonly<Record<string, (object: KubeObject) => FieldError[]>> = {
  Pod: newPodErrors,
  Deployment: workloadErrors,
  ReplicaSet: workloadErrors,
  DaemonSet: workloadErrors,
  StatefulSet: workloadErrors,
  Job: workloadErrors,
  MutatingWebhookConfiguration: webhookErrors,
  ValidatingWebhookConfiguration: webhookErrors,
}

/** All violations of a new object. */
export function createErrors(resource: Resource, object: KubeObject): FieldError[] {
  return [
    ...nameErrors(resource, object),
    ...metadataErrors(object.metadata, 'metadata'),
    ...(BY_KIND[object.kind]?.(object) ?? []),
  ]
}

const IMMUTABLE_SELECTOR = new Set(['Deployment', 'DaemonSet', 'ReplicaSet', 'StatefulSet', 'Job'])

/** All violations of a change. */
export function updateErrors(next: KubeObject, current: KubeObject): FieldError[] {
  const errors = metadataErrors(next.metadata, 'metadata')
  if (next.kind === 'Pod') return [...errors, ...podErrors(next), ...podUpdateErrors(next, current)]
  const selectors = [next, current].map((object) => objectAt(object, 'spec').selector)
  if (IMMUTABLE_SELECTOR.has(next.kind) && !sameJson(selectors[0], selectors[1]))
    errors.push(fieldError.invalid('spec.selector', selectors[0], 'field is immutable'))
  if (next.roleRef !== undefined && !sameJson(next.roleRef, current.roleRef))
    errors.push(fieldError.invalid('roleRef', next.roleRef, 'cannot change roleRef'))
  return [...errors, ...(BY_KIND[next.kind]?.(next) ?? [])]
}
