/** Validation of pods: the part of pkg/apis/core/validation that matters for injected pods. */

import { lifecycleErrors } from './lifecycle.ts'
import { DNS_LABEL, LABEL_TEXT, metadataErrors } from './metadata-validation.ts'
import {
  isObject,
  type JsonObject,
  type KubeObject,
  listAt,
  objectAt,
  sameJson,
  stringAt,
} from './objects.ts'
import { podLevelErrors } from './pod-level-resources.ts'
import { parseQuantity } from './quantity.ts'
import { type FieldError, fieldError } from './status.ts'

const RESTART_POLICIES = ['Always', 'OnFailure', 'Never']
const ENV_NAME = /^[ -<>-~]+$/
const ENV_TEXT =
  "a valid environment variable name must consist only of printable ASCII characters other than '='"
const MIN_TOKEN_SECONDS = 600
const INIT_ONLY_WITH_RESTART = ['lifecycle', 'livenessProbe', 'readinessProbe', 'startupProbe']

function labelName(field: string, name: unknown): FieldError[] {
  if (typeof name !== 'string' || name === '') return [fieldError.required(field)]
  if (name.length > 63) return [fieldError.invalid(field, name, 'must be no more than 63 bytes')]
  return DNS_LABEL.test(name) ? [] : [fieldError.invalid(field, name, LABEL_TEXT)]
}

function envErrors(container: JsonObject, at: string): FieldError[] {
  return listAt(container, 'env').flatMap((entry, index) => {
    const field = `${at}.env[${index}]`
    const name = stringAt(entry, 'name') ?? ''
    if (name === '') return [fieldError.required(`${field}.name`)]
    if (!ENV_NAME.test(name)) return [fieldError.invalid(`${field}.name`, name, ENV_TEXT)]
    if (entry.value !== undefined && entry.value !== '' && entry.valueFrom !== undefined)
      return [fieldError.invalid(`${field}.valueFrom`, '', 'may not be specified when `value` is not empty')]
    return []
  })
}

function mountErrors(container: JsonObject, volumes: ReadonlySet<string>, at: string): FieldError[] {
  const paths = new Set<string>()
  return listAt(container, 'volumeMounts').flatMap((mount, index) => {
    const field = `${at}.volumeMounts[${index}]`
    const name = stringAt(mount, 'name') ?? ''
    const path = stringAt(mount, 'mountPath') ?? ''
    const errors: FieldError[] = []
    if (name === '') errors.push(fieldError.required(`${field}.name`))
    else if (!volumes.has(name)) errors.push(fieldError.notFound(`${field}.name`, name))
    if (path === '') errors.push(fieldError.required(`${field}.mountPath`))
    else if (paths.has(path)) errors.push(fieldError.invalid(`${field}.mountPath`, path, 'must be unique'))
    paths.add(path)
    return errors
  })
}

function portErrors(container: JsonObject, hostNetwork: boolean, at: string): FieldError[] {
  const names = new Set<string>()
  return listAt(container, 'ports').flatMap((port, index) => {
    const field = `${at}.ports[${index}]`
    const errors: FieldError[] = []
    const number = port.containerPort
    if (typeof number !== 'number' || number < 1 || number > 65535)
      errors.push(
        fieldError.invalid(`${field}.containerPort`, number ?? 0, 'must be between 1 and 65535, inclusive'),
      )
    const name = stringAt(port, 'name')
    if (name !== undefined && names.has(name)) errors.push(fieldError.duplicate(`${field}.name`, name))
    if (name !== undefined) names.add(name)
    if (hostNetwork && port.hostPort !== undefined && port.hostPort !== number)
      errors.push(
        fieldError.invalid(
          `${field}.containerPort`,
          number,
          'must match `hostPort` when `hostNetwork` is true',
        ),
      )
    return errors
  })
}

function resourceErrors(container: JsonObject, at: string): FieldError[] {
  const [limits, requests] = [
    objectAt(container, 'resources', 'limits'),
    objectAt(container, 'resources', 'requests'),
  ]
  const errors: FieldError[] = []
  for (const [kind, all] of [
    ['limits', limits],
    ['requests', requests],
  ] as const)
    for (const [name, value] of Object.entries(all))
      if (parseQuantity(value) === undefined)
        errors.push(
          fieldError.invalid(
            `${at}.resources.${kind}[${name}]`,
            value,
            'quantities must match the regular expression',
          ),
        )
  for (const [name, request] of Object.entries(requests)) {
    const limit = limits[name] === undefined ? undefined : parseQuantity(limits[name])
    const wanted = parseQuantity(request)
    if (limit !== undefined && wanted !== undefined && wanted > limit)
      errors.push(
        fieldError.invalid(
          `${at}.resources.requests`,
          request,
          `must be less than or equal to ${name} limit of ${limits[name]}`,
        ),
      )
  }
  return errors
}

function securityErrors(container: JsonObject, at: string): FieldError[] {
  const security = objectAt(container, 'securityContext')
  const field = `${at}.securityContext`
  const errors: FieldError[] = []
  if (security.allowPrivilegeEscalation === false && security.privileged === true)
    errors.push(
      fieldError.invalid(
        field,
        security,
        'cannot set `allowPrivilegeEscalation` to false and `privileged` to true',
      ),
    )
  if (
    security.allowPrivilegeEscalation === false &&
    Array.isArray(objectAt(security, 'capabilities').add) &&
    (objectAt(security, 'capabilities').add as unknown[]).includes('SYS_ADMIN')
  )
    errors.push(
      fieldError.invalid(
        field,
        security,
        'cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN',
      ),
    )
  for (const id of ['runAsUser', 'runAsGroup']) {
    const value = security[id]
    if (typeof value === 'number' && (value < 0 || value > 2147483647))
      errors.push(fieldError.invalid(`${field}.${id}`, value, 'must be between 0 and 2147483647, inclusive'))
  }
  return errors
}

function initErrors(container: JsonObject, at: string, spec: JsonObject): FieldError[] {
  const policy = container.restartPolicy
  if (policy === 'Always') return lifecycleErrors(container, at, spec)
  const errors = INIT_ONLY_WITH_RESTART.filter((name) => container[name] !== undefined).map((name) =>
    fieldError.forbidden(`${at}.${name}`, 'may not be set for init containers without restartPolicy=Always'),
  )
  if (policy !== undefined && !RESTART_POLICIES.includes(String(policy)))
    errors.push(fieldError.unsupported(`${at}.restartPolicy`, policy, RESTART_POLICIES))
  return errors
}

function hookErrors(list: string, container: JsonObject, at: string, spec: JsonObject): FieldError[] {
  if (list === 'initContainers') return initErrors(container, at, spec)
  if (list === 'containers') return lifecycleErrors(container, at, spec)
  if (container.lifecycle === undefined) return []
  return [fieldError.forbidden(`${at}.lifecycle`, 'cannot be set for an Ephemeral Container')]
}

function volumeErrors(spec: JsonObject, at: string): FieldError[] {
  const names = new Set<string>()
  return listAt(spec, 'volumes').flatMap((volume, index) => {
    const field = `${at}.volumes[${index}]`
    const name = stringAt(volume, 'name') ?? ''
    const errors = labelName(`${field}.name`, name)
    if (names.has(name)) errors.push(fieldError.duplicate(`${field}.name`, name))
    names.add(name)
    const sources = Object.keys(volume).filter((key) => key !== 'name')
    if (sources.length > 1)
      errors.push(fieldError.forbidden(`${field}.${sources[1]}`, 'may not specify more than 1 volume type'))
    listAt(volume, 'projected', 'sources').forEach((source, sourceIndex) => {
      const token = source.serviceAccountToken
      if (!isObject(token)) return
      const tokenField = `${field}.projected.sources[${sourceIndex}].serviceAccountToken`
      if (typeof token.expirationSeconds === 'number' && token.expirationSeconds < MIN_TOKEN_SECONDS)
        errors.push(
          fieldError.invalid(
            `${tokenField}.expirationSeconds`,
            token.expirationSeconds,
            'may not specify a duration less than 10 minutes',
          ),
        )
      if (stringAt(token, 'path') === undefined) errors.push(fieldError.required(`${tokenField}.path`))
    })
    return errors
  })
}

function specErrors(spec: JsonObject, at: string): FieldError[] {
  const errors = volumeErrors(spec, at)
  const volumes = new Set(listAt(spec, 'volumes').map((volume) => stringAt(volume, 'name') ?? ''))
  const names = new Set<string>()
  if (listAt(spec, 'containers').length === 0) errors.push(fieldError.required(`${at}.containers`))
  for (const list of ['containers', 'initContainers', 'ephemeralContainers'])
    for (const [index, container] of listAt(spec, list).entries()) {
      const field = `${at}.${list}[${index}]`
      const name = stringAt(container, 'name') ?? ''
      errors.push(...labelName(`${field}.name`, name))
      if (names.has(name)) errors.push(fieldError.duplicate(`${field}.name`, name))
      names.add(name)
      if ((stringAt(container, 'image') ?? '') === '') errors.push(fieldError.required(`${field}.image`))
      errors.push(
        ...envErrors(container, field),
        ...mountErrors(container, volumes, field),
        ...portErrors(container, spec.hostNetwork === true, field),
        ...resourceErrors(container, field),
        ...securityErrors(container, field),
        ...hookErrors(list, container, field, spec),
      )
    }
  errors.push(...podLevelErrors(spec, at))
  const policy = stringAt(spec, 'restartPolicy')
  if (policy !== undefined && !RESTART_POLICIES.includes(policy))
    errors.push(fieldError.unsupported(`${at}.restartPolicy`, policy, RESTART_POLICIES))
  return errors
}

/** All violations of a pod. */
export function podErrors(pod: KubeObject): FieldError[] {
  return specErrors(objectAt(pod, 'spec'), 'spec')
}

/** All violations of a pod template. */
export function templateErrors(template: JsonObject, at: string): FieldError[] {
  return [
    ...metadataErrors(template.metadata, `${at}.metadata`),
    ...specErrors(objectAt(template, 'spec'), `${at}.spec`),
  ]
}

const UPDATE_TEXT =
  'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)'

/** A spec without the fields that an update may change. */
function frozen(spec: JsonObject): JsonObject {
  const { activeDeadlineSeconds: _deadline, tolerations: _tolerations, ...rest } = spec
  for (const list of ['containers', 'initContainers'])
    if (Array.isArray(spec[list]))
      rest[list] = listAt(spec, list).map(({ image: _, ...container }) => container)
  return rest
}

/** What `pods/ephemeralcontainers` may not do (ValidatePodEphemeralContainersUpdate). */
export function ephemeralErrors(next: KubeObject, current: KubeObject): FieldError[] {
  const containers = listAt(next, 'spec', 'ephemeralContainers')
  const lost = listAt(current, 'spec', 'ephemeralContainers').flatMap((old) => {
    const now = containers.find(({ name }) => name === old.name)
    if (now !== undefined && sameJson(now, old)) return []
    const what = `existing ephemeral containers "${old.name}" may not be ${now === undefined ? 'removed' : 'changed'}\n`
    return [fieldError.forbidden('spec.ephemeralContainers', what)]
  })
  return [...podErrors(next), ...lost]
}

/** What an update of an existing pod may not do (ValidatePodUpdate). */
export function podUpdateErrors(next: KubeObject, current: KubeObject): FieldError[] {
  const [spec, old] = [objectAt(next, 'spec'), objectAt(current, 'spec')]
  for (const list of ['containers', 'initContainers'])
    if (listAt(spec, list).length !== listAt(old, list).length)
      return [fieldError.forbidden(`spec.${list}`, 'pod updates may not add or remove containers')]
  const errors: FieldError[] = []
  if (!sameJson(frozen(spec), frozen(old))) errors.push(fieldError.forbidden('spec', UPDATE_TEXT))
  const tolerations = listAt(spec, 'tolerations')
  if (listAt(old, 'tolerations').some((had) => !tolerations.some((has) => sameJson(has, had))))
    errors.push(
      fieldError.forbidden(
        'spec.tolerations',
        'existing toleration can not be modified except its tolerationSeconds',
      ),
    )
  return errors
}
