/** The way of every review, from its body to an answer that is always well-formed, counted and logged. */
import { messageOf } from '../../common/errors.ts'
import type { Logger } from '../../common/log.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { isObject, type JsonObject } from '../json.ts'
import { kubeProblem } from '../kubernetes/access.ts'
import type { NamespaceLookup } from '../kubernetes/namespace-lookup.ts'
import type { InjectorMetrics } from '../metrics.ts'
import type { Body } from '../server/body.ts'
import { AT_ONCE, type FairTurns } from '../server/fair-turns.ts'
import type { LimitsLookup } from '../warnings/namespace-limits.ts'
import { mutate } from './mutate.ts'
import { sentence } from './reasons.ts'
import { type ReviewRequest, readReview } from './review.ts'
import { reviewOutline } from './review-outline.ts'
import type { Outline } from './skim.ts'
import { validate } from './validate.ts'
import { type Handler, type ReviewAnswer, reviewAnswer, type Verdict } from './verdict.ts'
import { warner } from './warn.ts'

export type WebhookDependencies = {
  /** Those of now: they follow the injector's other replicas (`peers/`). Asked once for each review. */
  readonly settings: () => InjectionSettings
  readonly lookup: NamespaceLookup
  readonly metrics: Pick<InjectorMetrics, 'observe'>
  readonly log: Logger
  /** Milliseconds, monotonic. */
  readonly clock: () => number
  /** In which order reviews are judged that are there at the same time. */
  readonly turns?: FairTurns
}

/** What stands in metrics and logs, and in the path. */
type WebhookName = 'mutate' | 'validate' | 'warn'

/** Takes a body and its sender's address, answers it; never rejects. */
export type Webhook = (body: string | Body, address?: string) => Promise<Answer>

export type Answer =
  | { readonly status: 200; readonly body: JsonObject }
  | { readonly status: 400; readonly text: string }

/** Bytes whose head is read in less time than a turn is organised. */
const SMALL = 64 * 1024

/** A namespace that could not be read: {@link webhook} answers it with 503, so that nothing is allowed unseen. */
class LookupError extends Error {}

/** The webhooks behind `/mutate`, `/validate` and `/warn`. */
export function webhooks(
  deps: WebhookDependencies & { readonly limits: LimitsLookup },
): Readonly<Record<WebhookName, Webhook>> {
  return {
    mutate: admissionWebhook('mutate', mutate, deps),
    validate: admissionWebhook('validate', validate, deps),
    warn: admissionWebhook('warn', warner(deps.limits, deps.log), deps),
  }
}

/** @returns answers a body that is no review with 400 and a sentence, everything else with a review */
function admissionWebhook(
  name: WebhookName,
  handle: Handler,
  { settings: settingsNow, lookup, metrics, log, clock, turns = AT_ONCE }: WebhookDependencies,
): Webhook {
  const outlineFor = outlines()
  return async function answer(body, address = '') {
    const started = clock()
    const settings = settingsNow()
    const outline = outlineFor(settings)
    const bytes = body.length
    const read = () => readReview(typeof body === 'string' ? Buffer.from(body) : body.whole(), outline)
    const review = bytes <= SMALL ? read() : await turns.take({ address, namespace: '', bytes }, read)
    if (!review.ok) {
      log.warn('not an admission review', { webhook: name, problem: review.problem })
      return { status: 400, text: `pod2iam: ${review.problem}\n` }
    }
    const { request } = review
    // The name comes from the request: pods from controllers often have no namespace of their own yet.
    const namespace = () =>
      lookup(request.namespace).catch((error) => {
        throw new LookupError(kubeProblem(error))
      })
    let verdict: Verdict
    try {
      const turn = { address, namespace: request.namespace, bytes }
      verdict = await handle(request, { namespace, inTurn: (work) => turns.take(turn, work) }, settings)
    } catch (error) {
      verdict = failed(request, error, settings)
      if (verdict.reason === 'internal-error')
        log.error('review failed', { uid: request.uid, ...described(error) })
    }
    const seconds = (clock() - started) / 1000
    metrics.observe(name, verdict.kind, verdict.reason, seconds)
    const answered = reviewAnswer(request.uid, verdict)
    report(name, request, verdict, answered, seconds, log)
    return { status: 200, body: answered }
  }
}

/** An outline for the role keys of these settings; the settings change rarely, the reviews are many. */
function outlines(): (settings: InjectionSettings) => Outline {
  let last: { readonly settings: InjectionSettings; readonly outline: Outline } | undefined
  return function outlineFor(settings) {
    if (last?.settings !== settings)
      last = { settings, outline: reviewOutline([settings.roleKey, ...settings.otherRoleKeys]) }
    return last.outline
  }
}

/** A review also when something broke: a bare 500 would show people "failed calling webhook". */
function failed({ namespace }: ReviewRequest, error: unknown, { roleKey }: InjectionSettings): Verdict {
  const reason = error instanceof LookupError ? 'namespace-lookup-failed' : 'internal-error'
  return {
    kind: 'error',
    reason,
    sentence: sentence(reason, { roleKey, namespace, detail: messageOf(error) }),
  }
}

/** What Kubernetes lets names have. Whoever reaches the port can send longer ones, and fill the node's disk with our log. */
const MAX_NAMESPACE = 63
const MAX_NAME = 253
/** Ours are shorter, unless somebody's annotation stands in them. */
const MAX_SENTENCE = 1024

/** One line per review, correlated by its uid; nothing of the pod but its name, because env may hold secrets. */
function report(
  name: WebhookName,
  request: ReviewRequest,
  { kind: outcome, reason }: Verdict,
  { response }: ReviewAnswer,
  seconds: number,
  log: Logger,
) {
  const fields = {
    // What happened to a pod; that nothing did is not worth the place of that.
    ...(outcome === 'skip' || outcome === 'allow' ? {} : { audit: true }),
    webhook: name,
    uid: request.uid,
    namespace: request.namespace.slice(0, MAX_NAMESPACE),
    object: nameOf(request.object),
    outcome,
    reason,
    ms: Math.round(seconds * 1000),
    ...(request.dryRun ? { dryRun: true } : {}),
    ...(response.status ? { sentence: response.status.message.slice(0, MAX_SENTENCE) } : {}),
    ...(response.warnings ? { warnings: response.warnings } : {}),
  }
  if (outcome === 'error' || reason === 'not-a-pod-creation' || reason === 'not-validated')
    log.warn('review', fields)
  else if (reason === 'unchanged') log.debug('review', fields)
  else log.info('review', fields)
}

function nameOf(object: unknown): string {
  const metadata = isObject(object) && isObject(object.metadata) ? object.metadata : {}
  if (typeof metadata.name === 'string' && metadata.name !== '') return metadata.name.slice(0, MAX_NAME)
  return typeof metadata.generateName === 'string' ? `${metadata.generateName.slice(0, MAX_NAME)}*` : ''
}

function described(error: unknown) {
  const stack = error instanceof Error ? error.stack?.split('\n').slice(1, 6).join(' |') : undefined
  return { error: messageOf(error), stack }
}
