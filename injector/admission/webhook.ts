/** What both webhooks have in common: from a body to an answer that is always well-formed, counted and logged. */
import { messageOf } from '../../common/errors.ts'
import type { Logger } from '../../common/log.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { isObject, type JsonObject } from '../json.ts'
import { kubeProblem } from '../kubernetes/access.ts'
import type { NamespaceLookup } from '../kubernetes/namespace-lookup.ts'
import type { InjectorMetrics } from '../metrics.ts'
import type { Namespace } from '../pod/namespace.ts'
import type { Body } from '../server/body.ts'
import { AT_ONCE, type FairTurns } from '../server/fair-turns.ts'
import { type Reason, sentence } from './reasons.ts'
import { type ReviewRequest, type ReviewResponse, readReview, refuse, reviewBody } from './review.ts'
import { reviewOutline } from './review-outline.ts'
import type { Outline } from './skim.ts'

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
export type WebhookName = 'mutate' | 'validate' | 'warn'

/** Takes a body and its sender's address, answers it; never rejects. */
export type Webhook = (body: string | Body, address?: string) => Promise<Answer>

export type Answer =
  | { readonly status: 200; readonly body: JsonObject }
  | { readonly status: 400; readonly text: string }

export type Told = {
  readonly outcome: 'patch' | 'skip' | 'allow' | 'deny' | 'error'
  readonly reason: Reason
  readonly response: ReviewResponse
}

/** Bytes whose head is read in less time than a turn is organised. */
const SMALL = 64 * 1024

/** A namespace that could not be read: {@link webhook} answers it with 503, so that nothing is allowed unseen. */
class LookupError extends Error {}

/** What a judge may ask for: the review's namespace as it is now, and a turn for work that costs. */
export type Court = {
  readonly namespace: () => Promise<Namespace>
  readonly inTurn: <T>(work: () => T) => Promise<T>
}

/**
 * @param judge decides about one review. While it waits for anything it holds nothing that was parsed but the head: a pod is
 *   parsed and judged in one turn, so that one at a time is in memory
 * @returns answers a body that is no review with 400 and a sentence, everything else with a review
 */
export function webhook(
  name: WebhookName,
  judge: (request: ReviewRequest, court: Court, settings: InjectionSettings) => Promise<Told> | Told,
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
    let told: Told
    try {
      const turn = { address, namespace: request.namespace, bytes }
      told = await judge(request, { namespace, inTurn: (work) => turns.take(turn, work) }, settings)
    } catch (error) {
      told = failed(request, error, settings)
      if (told.reason === 'internal-error')
        log.error('review failed', { uid: request.uid, ...described(error) })
    }
    const seconds = (clock() - started) / 1000
    metrics.observe(name, told.outcome, told.reason, seconds)
    report(name, request, told, seconds, log)
    return { status: 200, body: reviewBody(told.response) }
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
function failed({ uid, namespace }: ReviewRequest, error: unknown, { roleKey }: InjectionSettings): Told {
  const isLookup = error instanceof LookupError
  const reason: Reason = isLookup ? 'namespace-lookup-failed' : 'internal-error'
  const status = {
    code: isLookup ? 503 : 500,
    reason: isLookup ? 'ServiceUnavailable' : 'InternalError',
    message: sentence(reason, { roleKey, namespace, detail: messageOf(error) }),
  }
  return { outcome: 'error', reason, response: refuse(uid, status, { decision: 'error', reason }) }
}

/** What Kubernetes lets names have. Whoever reaches the port can send longer ones, and fill the node's disk with our log. */
const MOST_NAMESPACE = 63
const MOST_NAME = 253
/** Ours are shorter, unless somebody's annotation stands in them. */
const MOST_SENTENCE = 1024

/** One line per review, correlated by its uid; nothing of the pod but its name, because env may hold secrets. */
function report(name: string, request: ReviewRequest, told: Told, seconds: number, log: Logger) {
  const { outcome, reason, response } = told
  const fields = {
    // What happened to a pod; that nothing did is not worth the place of that.
    ...(outcome === 'skip' || outcome === 'allow' ? {} : { audit: true }),
    webhook: name,
    uid: request.uid,
    namespace: request.namespace.slice(0, MOST_NAMESPACE),
    object: nameOf(request.object),
    outcome,
    reason,
    ms: Math.round(seconds * 1000),
    ...(request.dryRun ? { dryRun: true } : {}),
    ...(response.status ? { sentence: response.status.message.slice(0, MOST_SENTENCE) } : {}),
    ...(response.warnings ? { warnings: response.warnings } : {}),
  }
  if (outcome === 'error' || reason === 'not-a-pod-creation' || reason === 'not-validated')
    log.warn('review', fields)
  else if (reason === 'unchanged') log.debug('review', fields)
  else log.info('review', fields)
}

function nameOf(object: unknown): string {
  const metadata = isObject(object) && isObject(object.metadata) ? object.metadata : {}
  if (typeof metadata.name === 'string' && metadata.name !== '') return metadata.name.slice(0, MOST_NAME)
  return typeof metadata.generateName === 'string' ? `${metadata.generateName.slice(0, MOST_NAME)}*` : ''
}

function described(error: unknown) {
  const stack = error instanceof Error ? error.stack?.split('\n').slice(1, 6).join(' |') : undefined
  return { error: messageOf(error), stack }
}
