/** The steps of every review, from its body to an answer that is always well-formed, counted and logged. */
import { messageOf } from '../../common/errors.ts'
import type { Logger } from '../../common/log.ts'
import { quote } from '../../common/role.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { type JsonObject, metadataOf } from '../json.ts'
import { kubeProblem } from '../kubernetes/access.ts'
import type { AccountLookup, NamespaceLookup } from '../kubernetes/lookups.ts'
import type { InjectorMetrics } from '../metrics.ts'
import { sentence } from '../reasons.ts'
import type { LimitsLookup } from '../warnings/namespace-limits.ts'
import { type ReviewAnswer, reviewAnswer } from './answer.ts'
import { type FairQueue, UNQUEUED } from './fair-queue.ts'
import { mutate } from './mutate.ts'
import { type ReviewRequest, readReview, reviewOutline } from './review.ts'
import type { Outline } from './scan.ts'
import { validate } from './validate.ts'
import { type Handler, LookupError, type Verdict } from './verdict.ts'
import { warner } from './warn.ts'

type WebhookDependencies = {
  /** The current settings, which follow the injector's other replicas (`peers/`). Called once for each review. */
  readonly settings: () => InjectionSettings
  readonly lookup: NamespaceLookup
  readonly accounts: AccountLookup
  readonly metrics: Pick<InjectorMetrics, 'observe'>
  readonly log: Logger
  /** Milliseconds, monotonic. */
  readonly clock: () => number
  /** The order of reviews that wait at the same time. */
  readonly turns?: FairQueue
}

/** As in metrics, logs and the path. */
type WebhookName = 'mutate' | 'validate' | 'warn'

/** A body as a server has read it. */
export type SentBody = {
  /** Bytes. */
  readonly length: number
  /** All of it, valid only until the caller waits for something. */
  readonly whole: () => Buffer
}

/** Answers a body, given its sender's address; never rejects. */
export type Webhook = (body: string | SentBody, address?: string) => Promise<Answer>

export type Answer =
  | { readonly status: 200; readonly body: JsonObject }
  | { readonly status: 400; readonly text: string }

/** Up to this size reading the head takes less time than waiting for a turn. */
const SMALL = 64 * 1024

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

/** @returns a webhook that answers a body which is not a review with 400 and a sentence, and every other body with a review */
function admissionWebhook(
  name: WebhookName,
  handle: Handler,
  { settings: settingsNow, lookup, accounts, metrics, log, clock, turns = UNQUEUED }: WebhookDependencies,
): Webhook {
  const outlineFor = outlines()
  return async function answer(sent, address = '') {
    const started = clock()
    const settings = settingsNow()
    const outline = outlineFor(settings)
    const bytes = sent.length
    const read = () => readReview(typeof sent === 'string' ? Buffer.from(sent) : sent.whole(), outline)
    const review = bytes <= SMALL ? read() : await turns.take({ address, namespace: '', bytes }, read)
    if (!review.ok) {
      log.warn('not an admission review', { webhook: name, problem: review.detail })
      return { status: 400, text: `pod2iam: ${review.detail}\n` }
    }
    const { request } = review
    // The name comes from the request: pods from controllers often do not have a namespace yet.
    const lookUpNamespace = () =>
      lookup(request.namespace).catch((error) => {
        throw new LookupError('namespace-lookup-failed', kubeProblem(error), error)
      })
    const lookUpAccount = (account: string) =>
      accounts(request.namespace, account).catch((error) => {
        const detail = `${quote(account)}: ${kubeProblem(error)}`
        throw new LookupError('service-account-lookup-failed', detail, error)
      })
    const inTurn = <T>(work: () => T) => turns.take({ address, namespace: request.namespace, bytes }, work)
    let verdict: Verdict
    try {
      verdict = await handle(request, { lookUpNamespace, lookUpAccount, inTurn }, settings)
    } catch (error) {
      verdict = errorVerdict(request, error, settings)
      if (verdict.reason === 'internal-error')
        log.error('review failed', { uid: request.uid, ...described(error) })
    }
    const body = reviewAnswer(request.uid, verdict)
    const seconds = (clock() - started) / 1000
    metrics.observe(name, verdict.kind, verdict.reason, seconds)
    report(name, request, verdict, body, seconds, log)
    return { status: 200, body }
  }
}

/** The outline for the role keys of the settings, kept until the settings change. */
function outlines(): (settings: InjectionSettings) => Outline {
  let last: { readonly settings: InjectionSettings; readonly outline: Outline } | undefined
  return function outlineFor(settings) {
    if (last?.settings !== settings)
      last = { settings, outline: reviewOutline([settings.roleKey, ...settings.otherRoleKeys]) }
    return last.outline
  }
}

/** Even after an error the answer is a review: with a bare 500, people would see only "failed calling webhook". */
function errorVerdict({ namespace }: ReviewRequest, error: unknown, { roleKey }: InjectionSettings): Verdict {
  const reason = error instanceof LookupError ? error.reason : 'internal-error'
  return {
    kind: 'error',
    reason,
    sentence: sentence(reason, { roleKey, namespace, detail: messageOf(error) }),
  }
}

/** Kubernetes' own limits. Anyone who reaches the port could send longer names and fill the node's disk with our log. */
const MAX_NAMESPACE = 63
const MAX_NAME = 253
/** Our messages are shorter unless they quote an annotation. */
const MAX_SENTENCE = 1024

/** Logs one line per review, correlated by its uid; about the pod only its name, because env may contain secrets. */
function report(
  name: WebhookName,
  request: ReviewRequest,
  { kind: outcome, reason }: Verdict,
  { response }: ReviewAnswer,
  seconds: number,
  log: Logger,
) {
  const fields = {
    // Only where something happened to a pod: the audit part of the log is bounded.
    ...(outcome === 'skip' || outcome === 'allow' ? {} : { audit: true }),
    webhook: name,
    uid: request.uid,
    namespace: request.namespace.slice(0, MAX_NAMESPACE),
    object: shownName(request.object),
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

function shownName(object: unknown): string {
  const { name, generateName } = metadataOf(object)
  if (typeof name === 'string' && name !== '') return name.slice(0, MAX_NAME)
  return typeof generateName === 'string' ? `${generateName.slice(0, MAX_NAME)}*` : ''
}

function described(error: unknown) {
  const stack = error instanceof Error ? error.stack?.split('\n').slice(1, 6).join(' |') : undefined
  return { error: messageOf(error), stack }
}
