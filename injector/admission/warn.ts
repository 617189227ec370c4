/**
 * The webhook that only warns: the person who applies a namespace, a workload or a bare pod immediately sees what will have no
 * effect. Its entries fail open, so nothing here may ever refuse.
 */
import { injectionMode, KEYS } from '../../common/keys.ts'
import type { Logger } from '../../common/log.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { metadataOf, nameOf, textMembers } from '../json.ts'
import type { ServiceAccount } from '../pod/account.ts'
import type { Namespace } from '../pod/namespace.ts'
import { readOptions } from '../pod/options.ts'
import { hasPodTemplate, podOfTemplate } from '../pod/template.ts'
import { accountWarnings } from '../warnings/account-warnings.ts'
import { namespaceLimitWarnings, podLimitWarnings } from '../warnings/limit-warnings.ts'
import { misspeltKeys, type TextMetadata } from '../warnings/misspelt-keys.ts'
import { namespaceValues, podValues } from '../warnings/misspelt-values.ts'
import { type LimitsLookup, type NamespaceLimits, NO_LIMITS } from '../warnings/namespace-limits.ts'
import { workloadMetadataWarnings } from '../warnings/workload-metadata.ts'
import { accountOf } from './account.ts'
import { type Decision, decide } from './decide.ts'
import type { ReviewRequest, WholeObject } from './review.ts'
import type { Handler, ReviewContext } from './verdict.ts'

const NOTHING = { values: [], keys: [] } as const

/** Creates the handler of `/warn`. */
export function warner(limitsOf: LimitsLookup, log: Pick<Logger, 'error'>): Handler {
  return async function warn(request, context, settings) {
    const reason = hasPodTemplate(request.resource) ? 'template' : 'warned-only'
    let warnings: readonly string[] = []
    try {
      warnings = await warningsOf(request, context, limitsOf, settings)
    } catch (error) {
      log.error('no warning could be given', { uid: request.uid, error: String(error) })
    }
    return { kind: 'allow', reason, warnings }
  }
}

async function warningsOf(
  request: ReviewRequest,
  context: ReviewContext,
  limitsOf: LimitsLookup,
  settings: InjectionSettings,
): Promise<readonly string[]> {
  const { operation, resource, subResource, object } = request
  const { lookUpNamespace, inTurn } = context
  if (operation === 'DELETE' || subResource !== '') return []
  if (resource === 'namespaces') {
    // A namespace that is being created has no limits yet.
    const needsLimits = operation === 'UPDATE' && (await inTurn(() => isOptedIn(request.whole())))
    const limits = needsLimits ? await limitsOf(nameOf(object)) : NO_LIMITS
    return inTurn(() => ofNamespace(request.whole(), limits, settings))
  }
  if (resource === 'serviceaccounts') {
    const namespace = await lookUpNamespace()
    return inTurn(() => {
      const whole = request.whole()
      return whole.isRead ? accountWarnings(whole.object, namespace, settings) : []
    })
  }
  const isTemplate = hasPodTemplate(resource)
  if (!isTemplate && resource !== 'pods') return []
  // Misspelt keys are misspelt in every namespace; the namespace matters only for pods that ask for something.
  const head = isTemplate ? podOfTemplate(object) : object
  const namespace = asks(head, settings) ? await lookUpNamespace().catch(() => undefined) : undefined
  // It may not exist yet: a chart's objects are applied one after another.
  const account = namespace && (await accountOf(head, namespace, context, settings).catch(() => undefined))
  const place = namespace && { namespace, account }
  const isInjected = namespace !== undefined && injectionMode(namespace.labels) !== undefined
  const limits = isInjected ? await limitsOf(namespace.name) : NO_LIMITS
  return inTurn(() =>
    isTemplate ? ofTemplate(request, place, limits, settings) : ofPod(request, place, limits, settings),
  )
}

function isOptedIn(whole: WholeObject): boolean {
  return whole.isRead && injectionMode(textMetadata(whole.object).labels) !== undefined
}

function asks(pod: unknown, { roleKey }: InjectionSettings): boolean {
  const { annotations } = textMetadata(pod)
  return annotations[roleKey] !== undefined || annotations[KEYS.inject] !== undefined
}

function ofNamespace(whole: WholeObject, limits: NamespaceLimits, settings: InjectionSettings): string[] {
  if (!whole.isRead) return []
  const own = textMetadata(whole.object)
  const namespace = { name: nameOf(whole.object), ...own }
  const read = readOptions({}, namespace, settings)
  return [
    ...namespaceValues(namespace, settings),
    ...misspeltKeys(own, 'namespace', settings.roleKey),
    ...namespaceLimitWarnings(limits, settings, read.ok ? read.options.redirect : settings.redirect),
  ]
}

/** Where pods are created, and as whom. */
type Place = { readonly namespace: Namespace; readonly account: ServiceAccount | undefined }

function ofTemplate(
  request: ReviewRequest,
  place: Place | undefined,
  limits: NamespaceLimits,
  settings: InjectionSettings,
): string[] {
  const whole = request.whole()
  const pods = whole.isRead
    ? { ...whole, object: podOfTemplate(whole.object) }
    : { ...whole, head: podOfTemplate(whole.head) }
  if (pods.isRead && pods.object === undefined) return []
  const spelling = pods.isRead ? ofSpelling(textMetadata(pods.object), settings) : NOTHING
  const above = whole.isRead
    ? workloadMetadataWarnings(
        textMetadata(whole.object),
        textMetadata(podOfTemplate(whole.object)),
        settings.roleKey,
      )
    : []
  if (place === undefined) return [...spelling.values, ...spelling.keys, ...above]
  const decision = decide(pods, place.namespace, settings, place.account)
  const refused = decision.kind === 'deny'
  const decided = refused
    ? [`pods of this workload will be refused: ${decision.sentence}`]
    : decision.warnings
  // A refusal because of a value already names it.
  const values = refused && decision.reason === 'invalid-annotation' ? [] : spelling.values
  const limited = ofLimits('pods of this workload', pods, decision, limits, settings)
  return [...decided, ...limited, ...values, ...spelling.keys, ...above]
}

function ofPod(
  request: ReviewRequest,
  place: Place | undefined,
  limits: NamespaceLimits,
  settings: InjectionSettings,
): readonly string[] {
  const whole = request.whole()
  const spelling = whole.isRead ? ofSpelling(textMetadata(whole.object), settings) : NOTHING
  if (place === undefined) return [...spelling.values, ...spelling.keys]
  const { namespace, account } = place
  // In opted-in namespaces the other webhooks give their own warnings, but not about the limits of the namespace.
  const hasInjection = injectionMode(namespace.labels) !== undefined
  const isBounded = limits.limitRanges.length + limits.quotas.length > 0
  if (hasInjection && !isBounded) return [...spelling.values, ...spelling.keys]
  const decision = decide(whole, namespace, settings, account)
  const decided = decision.kind === 'skip' && !hasInjection ? decision.warnings : []
  const limited = ofLimits('the pod', whole, decision, limits, settings)
  return [...decided, ...limited, ...spelling.values, ...spelling.keys]
}

function ofLimits(
  who: string,
  whole: WholeObject,
  decision: Decision,
  limits: NamespaceLimits,
  settings: InjectionSettings,
): string[] {
  return whole.isRead && decision.kind === 'patch'
    ? podLimitWarnings(who, whole.object, decision.resources, limits, settings)
    : []
}

function ofSpelling(own: TextMetadata, settings: InjectionSettings) {
  return { values: podValues(own.annotations), keys: misspeltKeys(own, 'pod', settings.roleKey) }
}

/** Annotations and labels; empty if one has a value that is not text. */
function textMetadata(object: unknown): TextMetadata {
  const { annotations, labels } = metadataOf(object)
  return { annotations: textMembers(annotations) ?? {}, labels: textMembers(labels) ?? {} }
}
