/**
 * The admission chain: mutating plugins and webhooks, again if a webhook changed something, then the
 * validating ones. `apiserver/pkg/admission/plugin/webhook/mutating/reinvocationcontext.go`.
 */
import type { JsonObject, KubeObject, UserInfo } from '../objects/objects.ts'
import type { Resource } from '../objects/resources.ts'

export type AdmissionRequest = {
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT'
  readonly resource: Resource
  readonly subresource: string | undefined
  /** Kind of the object: a subresource has one of its own (`Binding`). */
  readonly kind: { readonly group: string; readonly version: string; readonly kind: string }
  readonly namespace: string | undefined
  /** Empty on CREATE with generateName. */
  readonly name: string
  readonly object: KubeObject | undefined
  readonly oldObject: KubeObject | undefined
  readonly options: JsonObject
  readonly dryRun: boolean
  readonly user: UserInfo
  warn(text: string): void
  audit(key: string, value: string): void
}

/** What the webhooks of one request remember between the two rounds. */
export type Reinvocation = {
  readonly isReinvoke: boolean
  /** Set by a webhook that changed the object: the whole chain runs a second time. */
  shouldReinvoke: boolean
  /** Called, and may be called again. */
  previouslyInvoked: Set<string>
  /** To be called in the second round. */
  reinvoke: Set<string>
  lastOutput: KubeObject | undefined
}

export type MutatingPlugin = (request: AdmissionRequest, object: KubeObject) => KubeObject
export type MutatingWebhooks = (
  request: AdmissionRequest,
  object: KubeObject,
  context: Reinvocation,
) => Promise<KubeObject>
/** Throws an ApiError to refuse. */
export type ValidatingPlugin = (request: AdmissionRequest) => Promise<void> | void

export type Admission = {
  mutate(request: AdmissionRequest): Promise<KubeObject>
  validate(request: AdmissionRequest): Promise<void>
}

/**
 * @param plugins in-tree mutating plugins, in their order; they must be idempotent
 * @param webhooks calls the registered mutating webhooks
 * @param validating in their order; the first refusal counts
 */
export function createAdmission(
  plugins: readonly MutatingPlugin[],
  webhooks: MutatingWebhooks,
  validating: readonly ValidatingPlugin[],
): Admission {
  const round = (request: AdmissionRequest, object: KubeObject, context: Reinvocation) =>
    webhooks(
      request,
      plugins.reduce((mutated, plugin) => plugin(request, mutated), object),
      context,
    )
  return {
    async mutate(request) {
      if (request.object === undefined) throw new TypeError('There is no object to mutate.')
      const first: Reinvocation = {
        isReinvoke: false,
        shouldReinvoke: false,
        previouslyInvoked: new Set(),
        reinvoke: new Set(),
        lastOutput: undefined,
      }
      const object = await round(request, request.object, first)
      return first.shouldReinvoke ? round(request, object, { ...first, isReinvoke: true }) : object
    },
    async validate(request) {
      for (const plugin of validating) await plugin(request)
    },
  }
}
