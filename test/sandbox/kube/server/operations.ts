/** Create, update, patch and delete, with admission, validation and storage in the order of the real server. */
import type { Admission } from '../admission/admission.ts'
import {
  admissionRequest,
  type Caller,
  decode,
  options,
  type Target,
} from '../admission/admission-request.ts'
import { withDefaults } from '../objects/defaults.ts'
import { checkPreconditions, deletedStatus, gracePeriod, held } from '../objects/deletion.ts'
import { isObject, type KubeObject, objectAt, timestamp } from '../objects/objects.ts'
import { resizeErrors } from '../objects/pod-resize.ts'
import { ephemeralErrors } from '../objects/pod-validation.ts'
import type { Resource } from '../objects/resources.ts'
import {
  ApiError,
  alreadyExists,
  badRequest,
  conflict,
  type FieldError,
  failure,
  fieldError,
  forbidden,
  invalid,
  isApiError,
  MODIFIED,
  notFound,
  type Status,
} from '../objects/status.ts'
import type { Store } from '../objects/store.ts'
import { finishCreate, prepareForUpdate, unchanged, wipeForCreate } from '../objects/strategy.ts'
import { createErrors, updateErrors } from '../objects/validation.ts'

/** A patch without a resourceVersion is retried when another client wrote in between, as often as by the real server. */
const PATCH_ATTEMPTS = 5
const NAMESPACES = { group: '', plural: 'namespaces' }

/** What an update through an endpoint may not do, keyed by its sub-resource. */
const ERRORS_OF: Readonly<Record<string, (next: KubeObject, current: KubeObject) => FieldError[]>> = {
  '': updateErrors,
  ephemeralcontainers: ephemeralErrors,
  resize: resizeErrors,
}

/** Whether a PUT must name the version that it replaces (AllowUnconditionalUpdate of the strategies). */
const isConditional = ({ group, plural }: Resource) =>
  group === 'admissionregistration.k8s.io' || plural === 'leases' || plural === 'poddisruptionbudgets'

export class Operations {
  readonly #store: Store
  readonly #admission: Admission
  readonly #now: () => number

  constructor(store: Store, admission: Admission, now: () => number) {
    this.#store = store
    this.#admission = admission
    this.#now = now
  }

  /** The NamespaceLifecycle plugin. */
  #checkNamespace({ resource, namespace }: Target, name: string): void {
    if (!resource.namespaced || namespace === undefined) return
    const found = this.#store.get(NAMESPACES, undefined, namespace)
    if (found === undefined) throw notFound(NAMESPACES, namespace)
    if (found.metadata.deletionTimestamp !== undefined) {
      const refused = forbidden(
        resource,
        name,
        `unable to create new content in namespace ${namespace} because it is being terminated`,
      )
      throw new ApiError({
        ...refused.status,
        details: {
          ...refused.status.details,
          causes: [
            {
              reason: 'NamespaceTerminating',
              message: `namespace ${namespace} is being terminated`,
              field: 'metadata.namespace',
            },
          ],
        },
      })
    }
  }

  /**
   * Stores a new object.
   *
   * @throws ApiError 400, 403, 404 (namespace), 409 AlreadyExists, 422, or a webhook's
   */
  async create(target: Target, body: unknown, caller: Caller): Promise<KubeObject> {
    const { resource, namespace } = target
    const decoded = withDefaults(
      wipeForCreate(decode(target, body, caller), resource.namespaced ? namespace : undefined),
    )
    const name = decoded.metadata.name ?? ''
    this.#checkNamespace(target, name)
    const opts = options('CreateOptions', caller)
    const request = (object: KubeObject) =>
      admissionRequest('CREATE', target, name, { object, oldObject: undefined }, opts, caller)
    const mutated = await this.#admission.mutate(request(decoded))
    const named = finishCreate(resource, mutated, this.#now())
    const errors = createErrors(resource, named)
    if (errors.length > 0) throw invalid(resource.kind, resource.group, named.metadata.name ?? '', errors)
    await this.#admission.validate(request(named))
    const finalName = named.metadata.name ?? ''
    if (this.#store.get(resource, resource.namespaced ? namespace : undefined, finalName) !== undefined)
      throw alreadyExists(resource, finalName)
    return caller.dryRun ? named : this.#store.put(resource, named, undefined)
  }

  get admission(): Admission {
    return this.#admission
  }

  get now(): () => number {
    return this.#now
  }

  get({ resource, namespace }: Target, name: string): KubeObject {
    const found = this.#store.get(resource, resource.namespaced ? namespace : undefined, name)
    if (found === undefined) throw notFound(resource, name)
    return found
  }

  /** PUT. */
  async update(target: Target, name: string, body: unknown, caller: Caller): Promise<KubeObject> {
    const next = decode(target, body, caller)
    if (next.metadata.name !== undefined && next.metadata.name !== name)
      throw badRequest(
        `the name of the object (${next.metadata.name}) does not match the name on the URL (${name})`,
      )
    const current = this.get(target, name)
    const { resource } = target
    if (!next.metadata.resourceVersion && isConditional(resource))
      throw invalid(resource.plural, resource.group, name, [
        fieldError.invalid('metadata.resourceVersion', 0, 'must be specified for an update'),
      ])
    return this.#replace(target, current, next, 'UpdateOptions', caller)
  }

  /**
   * PATCH.
   *
   * @param apply returns the new object for the current one
   */
  async patch(
    target: Target,
    name: string,
    apply: (current: KubeObject) => unknown,
    caller: Caller,
  ): Promise<KubeObject> {
    for (let attempt = 1; ; attempt++) {
      const current = this.get(target, name)
      const next = decode(target, apply(current), caller)
      const own = next.metadata.resourceVersion === current.metadata.resourceVersion
      try {
        return await this.#replace(target, current, next, 'PatchOptions', caller)
      } catch (error) {
        if (
          !own ||
          attempt >= PATCH_ATTEMPTS ||
          !isApiError(error, 409) ||
          this.get(target, name) === current
        )
          throw error
      }
    }
  }

  async #replace(target: Target, current: KubeObject, next: KubeObject, kind: string, caller: Caller) {
    const { resource, subresource } = target
    const name = current.metadata.name ?? ''
    const { resourceVersion, uid } = next.metadata
    if (uid !== undefined && uid !== '' && uid !== current.metadata.uid) {
      if (kind === 'PatchOptions')
        throw invalid(resource.kind, resource.group, name, [
          fieldError.invalid('metadata.uid', uid, 'field is immutable'),
        ])
      throw conflict(
        resource,
        name,
        `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${current.metadata.uid}`,
      )
    }
    if (resourceVersion && resourceVersion !== current.metadata.resourceVersion)
      throw conflict(resource, name, MODIFIED)
    const opts = options(kind, caller)
    const prepare = (object: KubeObject) =>
      prepareForUpdate(resource, subresource, withDefaults(object), current)
    const request = (object: KubeObject) =>
      admissionRequest('UPDATE', target, name, { object, oldObject: current }, opts, caller)
    const mutated = prepare(await this.#admission.mutate(request(prepare(next))))
    const errors = ERRORS_OF[subresource ?? '']?.(mutated, current) ?? []
    if (errors.length > 0) throw invalid(resource.kind, resource.group, name, errors)
    await this.#admission.validate(request(mutated))
    if (this.get(target, name) !== current) throw conflict(resource, name, MODIFIED)
    if (caller.dryRun || unchanged(mutated, current)) return caller.dryRun ? mutated : current
    return this.#settle(resource, this.#store.put(resource, mutated, current))
  }

  /** An object that waits for its finalizers is deleted when the last one is removed. */
  #settle(resource: Resource, object: KubeObject): KubeObject {
    const { deletionTimestamp, deletionGracePeriodSeconds = 0, finalizers = [] } = object.metadata
    if (deletionTimestamp === undefined || deletionGracePeriodSeconds > 0 || held(object, finalizers))
      return object
    return this.#store.remove(resource, object)
  }

  /**
   * DELETE. Pods on a node are deleted gracefully: first they get a `deletionTimestamp`, and they are removed when the
   * kubelet deletes them with grace 0.
   *
   * @returns the object for pods and for objects that are only marked, else a Status
   */
  async remove(target: Target, name: string, body: unknown, caller: Caller): Promise<KubeObject | Status> {
    const { resource } = target
    const current = this.get(target, name)
    const given = isObject(body) ? body : {}
    checkPreconditions(resource, current, objectAt(given, 'preconditions'))
    const { propagationPolicy: policy = 'Background' } = given
    if (policy !== 'Background')
      throw failure(501, 'NotImplemented', `dependents go in the background in the sandbox, not as ${policy}`)
    const opts = options('DeleteOptions', caller, given)
    await this.#admission.validate(
      admissionRequest('DELETE', target, name, { object: undefined, oldObject: current }, opts, caller),
    )
    const latest = this.get(target, name)
    if (latest.metadata.uid !== current.metadata.uid) throw conflict(resource, name, MODIFIED)
    if (caller.dryRun) return latest
    const grace = gracePeriod(resource, latest, given.gracePeriodSeconds)
    const { finalizers = [] } = latest.metadata
    if (grace === 0 && !held(latest, finalizers)) {
      // A pod is marked even if it is deleted at once, because watches see both changes.
      const last = resource.plural === 'pods' ? this.#mark(resource, latest, grace, finalizers) : latest
      const removed = this.#store.remove(resource, last)
      return resource.plural === 'pods' ? removed : deletedStatus(resource, removed)
    }
    return this.#mark(resource, latest, grace, finalizers)
  }

  #mark(resource: Resource, object: KubeObject, grace: number, finalizers: readonly string[]): KubeObject {
    const { deletionTimestamp, deletionGracePeriodSeconds = Number.POSITIVE_INFINITY } = object.metadata
    // Deleting again can only shorten the grace period.
    if (deletionTimestamp !== undefined && grace >= deletionGracePeriodSeconds) return object
    const metadata = {
      ...object.metadata,
      ...(finalizers.length > 0 ? { finalizers: [...finalizers] } : {}),
      deletionTimestamp: timestamp(this.#now() + grace * 1000),
      deletionGracePeriodSeconds: grace,
    }
    const marked: KubeObject = { ...object, metadata }
    if (resource.plural === 'namespaces')
      marked.status = { ...objectAt(object, 'status'), phase: 'Terminating' }
    return this.#store.put(resource, marked, object)
  }
}
