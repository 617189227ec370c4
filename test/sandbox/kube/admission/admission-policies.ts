/**
 * ValidatingAdmissionPolicies and their bindings: `apiserver/pkg/admission/plugin/policy/validating`. Parameters,
 * audit annotations of policies and `authorizer` are not imitated.
 */

import { cel, celValue } from '../objects/cel.ts'
import { type JsonObject, type KubeObject, listAt, objectAt, stringAt } from '../objects/objects.ts'
import { forbidden } from '../objects/status.ts'
import type { Store } from '../objects/store.ts'
import type { AdmissionRequest, ValidatingPlugin } from './admission.ts'
import { evaluate } from './match-conditions.ts'
import { BEYOND_POLICIES, wants } from './webhook-match.ts'
import { requestFields } from './webhooks.ts'

const GROUP = 'admissionregistration.k8s.io'
const CODES: Readonly<Record<string, number>> = {
  Unauthorized: 401,
  Forbidden: 403,
  Invalid: 422,
  RequestEntityTooLarge: 413,
}

/** The evaluation of a policy in force; `judged()` returns these. */
export type Judged = {
  readonly policy: KubeObject
  readonly admission: Pick<AdmissionRequest, 'object' | 'oldObject'>
  readonly request: JsonObject
  readonly namespace: KubeObject | undefined
}

const JUDGED_KEPT = 1000

/** What a validation that is false reports. */
export type Violation = { readonly reason: string; readonly message: string }

/** `matchConstraints` and a binding's `matchResources` are like a webhook, with another name for the rules. */
function matches(store: Store, resources: JsonObject, request: AdmissionRequest): boolean {
  return wants(store, { ...resources, rules: resources.resourceRules ?? [] }, request, BEYOND_POLICIES)
}

/** Variables are evaluated when they are first used, each at most once. */
function variablesOf(definitions: readonly JsonObject[], context: Record<string, unknown>) {
  const variables = {}
  for (const definition of definitions) {
    let value: { readonly is: unknown } | undefined
    Object.defineProperty(variables, stringAt(definition, 'name') ?? '', {
      enumerable: true,
      get() {
        value ??= { is: cel(stringAt(definition, 'expression') ?? '', context) }
        return value.is
      },
    })
  }
  return variables
}

/**
 * What the policy objects to; an expression that fails is an objection if the policy says `Fail`.
 *
 * @param admission its namespace is undefined for cluster-scoped objects
 */
export function violations(
  policy: KubeObject,
  admission: Pick<AdmissionRequest, 'object' | 'oldObject'>,
  request: JsonObject,
  namespace: KubeObject | undefined,
): Violation[] {
  const spec = objectAt(policy, 'spec')
  const failing = (message: string): Violation[] =>
    spec.failurePolicy === 'Ignore' ? [] : [{ reason: 'Invalid', message }]
  const matched = evaluate(listAt(spec, 'matchConditions'), admission, request)
  if (matched.outcome === 'no-match') return []
  if (matched.outcome === 'error') return failing(matched.message)
  const context: Record<string, unknown> = {
    object: celValue(admission.object ?? null),
    oldObject: celValue(admission.oldObject ?? null),
    request: celValue(request),
    namespaceObject: celValue(namespace ?? null),
    params: null,
  }
  context.variables = variablesOf(listAt(spec, 'variables'), context)
  return listAt(spec, 'validations').flatMap((validation) => {
    const expression = stringAt(validation, 'expression') ?? ''
    try {
      if (cel(expression, context) === true) return []
    } catch (error) {
      return failing(
        `expression '${expression}' resulted in error: ${error instanceof Error ? error.message : error}`,
      )
    }
    return [
      {
        reason: stringAt(validation, 'reason') ?? 'Invalid',
        message: messageOf(validation, expression, context),
      },
    ]
  })
}

function messageOf(validation: JsonObject, expression: string, context: Record<string, unknown>): string {
  const fallback = stringAt(validation, 'message') ?? `failed expression: ${expression.trim()}`
  const written = stringAt(validation, 'messageExpression')
  if (written === undefined) return fallback
  try {
    const text = cel(written, context)
    return typeof text === 'string' && text.trim() !== '' ? text : fallback
  } catch {
    return fallback
  }
}

/**
 * Evaluates every policy that a binding puts into force; the first denial counts, warnings are collected.
 *
 * @param judged receives the evaluations
 */
export function admissionPolicies(store: Store, judged: Judged[] = []): ValidatingPlugin {
  return (request) => {
    const policies = new Map(
      store
        .list({ group: GROUP, plural: 'validatingadmissionpolicies' })
        .map((one) => [one.metadata.name, one]),
    )
    for (const binding of store.list({ group: GROUP, plural: 'validatingadmissionpolicybindings' })) {
      const policy = policies.get(stringAt(binding, 'spec', 'policyName') ?? '')
      if (policy === undefined || !matches(store, objectAt(policy, 'spec', 'matchConstraints'), request))
        continue
      const narrowed = objectAt(binding, 'spec', 'matchResources')
      if (narrowed.resourceRules !== undefined && !matches(store, narrowed, request)) continue
      const namespace = store.get({ group: '', plural: 'namespaces' }, undefined, request.namespace ?? '')
      const { object, oldObject } = request
      const asked = { policy, admission: { object, oldObject }, request: requestFields(request), namespace }
      judged.push(asked)
      if (judged.length > JUDGED_KEPT) judged.shift()
      for (const violation of violations(policy, asked.admission, asked.request, namespace))
        act(binding, policy, violation, request)
    }
  }
}

function act(
  binding: KubeObject,
  policy: KubeObject,
  { reason, message }: Violation,
  request: AdmissionRequest,
) {
  const actions = objectAt(binding, 'spec').validationActions
  const who = `ValidatingAdmissionPolicy '${policy.metadata.name}' with binding '${binding.metadata.name}'`
  if (!Array.isArray(actions)) return
  if (actions.includes('Warn')) request.warn(`Validation failed for ${who}: ${message}`)
  if (actions.includes('Audit'))
    request.audit('validation.policy.admission.k8s.io/validation_failure', message)
  if (!actions.includes('Deny')) return
  const name = request.name || (request.object?.metadata?.name ?? '')
  const refusal = forbidden(request.resource, name, `${who} denied request: ${message}`)
  refusal.status.reason = reason
  refusal.status.code = CODES[reason] ?? 422
  throw refusal
}
