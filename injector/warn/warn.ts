/**
 * The webhook that only warns: whoever applies a namespace, a workload or a pod of his own is told at once what will not do what
 * it says. Its entries fail open, so nothing here may refuse, whatever happens.
 */
import { injectionMode, KEYS } from '../../common/keys.ts'
import { decideWhole } from '../decide.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { isObject } from '../json.ts'
import type { Namespace } from '../namespace.ts'
import { hasPodTemplate, podOfTemplate } from '../pod-template.ts'
import { allow, type ReviewRequest, type WholeObject } from '../review.ts'
import { type Court, type Told, type Webhook, type WebhookDependencies, webhook } from '../webhook.ts'
import { aboveTemplate } from './above-template.ts'
import { type Marked, misspeltKeys } from './misspelt-keys.ts'
import { namespaceValues, podValues } from './misspelt-values.ts'

/** The webhook behind `/warn`. */
export function warner(dependencies: WebhookDependencies): Webhook {
  const { log } = dependencies
  return webhook(
    'warn',
    async function warn(request, court, settings) {
      const reason = hasPodTemplate(request.resource) ? 'template' : 'warned-only'
      let warnings: readonly string[] = []
      try {
        warnings = await warningsOf(request, court, settings)
      } catch (error) {
        log.error('no warning could be given', { uid: request.uid, error: String(error) })
      }
      const response = allow(request.uid, { warnings, audit: { decision: 'allow', reason } })
      return { outcome: 'allow', reason, response } satisfies Told
    },
    dependencies,
  )
}

async function warningsOf(
  request: ReviewRequest,
  court: Court,
  settings: InjectionSettings,
): Promise<readonly string[]> {
  const { operation, resource, subResource, object } = request
  if (operation === 'DELETE' || subResource !== '') return []
  if (resource === 'namespaces') return court.inTurn(() => ofNamespace(request.whole(), settings))
  const isTemplate = hasPodTemplate(resource)
  if (!isTemplate && resource !== 'pods') return []
  // Misspelt keys are misspelt in every namespace: only pods that ask for something are a matter of theirs.
  const head = isTemplate ? podOfTemplate(object) : object
  const where = asks(head, settings) ? await court.namespace().catch(() => undefined) : undefined
  return court.inTurn(() =>
    isTemplate ? ofTemplate(request, where, settings) : ofPod(request, where, settings),
  )
}

function asks(pod: unknown, { roleKey }: InjectionSettings): boolean {
  const { annotations } = marked(pod)
  return annotations[roleKey] !== undefined || annotations[KEYS.inject] !== undefined
}

function ofNamespace(whole: WholeObject, settings: InjectionSettings): string[] {
  if (!whole.isRead) return []
  const own = marked(whole.object)
  const name = isObject(whole.object) && isObject(whole.object.metadata) ? whole.object.metadata.name : ''
  return [
    ...namespaceValues({ name: String(name), ...own }, settings),
    ...misspeltKeys(own, 'namespace', settings.roleKey),
  ]
}

function ofTemplate(
  request: ReviewRequest,
  where: Namespace | undefined,
  settings: InjectionSettings,
): string[] {
  const whole = request.whole()
  const pods = whole.isRead ? { ...whole, object: podOfTemplate(whole.object) } : whole
  if (pods.isRead && pods.object === undefined) return []
  const spelling = pods.isRead ? ofSpelling(marked(pods.object), settings) : NOTHING
  const above = whole.isRead
    ? aboveTemplate(marked(whole.object), marked(podOfTemplate(whole.object)), settings.roleKey)
    : []
  if (where === undefined) return [...spelling.values, ...spelling.keys, ...above]
  const decision = decideWhole(podOfTemplate(request.object), pods, where, settings)
  const refused = decision.kind === 'deny'
  const decided = refused
    ? [`pods of this workload will be refused: ${decision.sentence}`]
    : decision.warnings
  // A refusal for a value names it already.
  const values = refused && decision.reason === 'invalid-annotation' ? [] : spelling.values
  return [...decided, ...values, ...spelling.keys, ...above]
}

function ofPod(
  request: ReviewRequest,
  where: Namespace | undefined,
  settings: InjectionSettings,
): readonly string[] {
  const whole = request.whole()
  const spelling = whole.isRead ? ofSpelling(marked(whole.object), settings) : NOTHING
  if (where === undefined) return [...spelling.values, ...spelling.keys]
  // In namespaces that are opted in, the other webhooks speak for themselves.
  const isTheirs = injectionMode(where.labels) !== undefined
  const decision = isTheirs ? undefined : decideWhole(request.object, whole, where, settings)
  const decided = decision?.kind === 'skip' ? decision.warnings : []
  return [...decided, ...spelling.values, ...spelling.keys]
}

const NOTHING = { values: [], keys: [] } as const

function ofSpelling(own: Marked, settings: InjectionSettings) {
  return { values: podValues(own.annotations), keys: misspeltKeys(own, 'pod', settings.roleKey) }
}

/** Annotations and labels; none where the object has others than texts. */
function marked(object: unknown): Marked {
  const metadata = isObject(object) && isObject(object.metadata) ? object.metadata : {}
  return { annotations: texts(metadata.annotations), labels: texts(metadata.labels) }
}

function texts(value: unknown): Readonly<Record<string, string>> {
  return isObject(value) && Object.values(value).every((one) => typeof one === 'string')
    ? (value as Record<string, string>)
    : {}
}
