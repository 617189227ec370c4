/** Whether a container under one of our names is ours: only what we set, and what the API server fills in. */
import { quote } from '../common/role.ts'
import { sameRepository } from './image-reference.ts'
import { contains, isObject, type Json, type JsonObject, sameJson } from './json.ts'
import type { Container, EnvVar } from './pod.ts'

/**
 * Fields that may stand in a container of ours: those we set, and defaults of the API server. Every other one
 * (`envFrom`, `command`, `lifecycle`, probes, ports, …, and what Kubernetes will invent) can run or feed
 * something else than what its image and args say.
 */
const FIELDS = new Set([
  ...['name', 'image', 'imagePullPolicy', 'args', 'restartPolicy', 'env', 'volumeMounts'],
  ...['resources', 'resizePolicy', 'securityContext', 'terminationMessagePath', 'terminationMessagePolicy'],
])
/** The API server's default; the kubelet mounts a file there, which must not hide one of the image. */
const MESSAGE_PATH = '/dev/termination-log'

/**
 * What webhooks add to every container and neither Node nor our programs read: AWS's own (IRSA and Pod Identity, which
 * EKS reinvokes after us), Datadog's and OpenTelemetry's. No list of what does harm could ever be complete; this one is
 * of what cannot (docs/decisions/0053).
 */
const HARMLESS_ENV = /^(?:AWS|DD|OTEL)_[A-Z0-9_]+$/
/** Where such webhooks put tokens of their own; no program is there, and what lies below our two directories is ours. */
const HARMLESS_PATH =
  /^\/var\/run\/secrets\/(?!pod2iam(?:\/|$)|kubernetes\.io(?:\/|$))[a-z0-9][-a-z0-9.]*(?:\/[a-z0-9][-a-z0-9.]*)*$/

/** The part in which a container under our name differs from ours beyond what {@link plan} puts right. */
export function foreignPart(actual: Container, wanted: Container): string | undefined {
  // Another release of ours is no stranger: a manifest copied from a running pod, or a replica being upgraded.
  if (!sameRepository(wanted.image ?? '', actual.image)) return `image ${quote(actual.image ?? '')}`
  const field = Object.keys(actual).find((key) => !FIELDS.has(key) && !blank(actual[key]))
  if (field !== undefined) return quote(field)
  if (!blank(actual.terminationMessagePath) && actual.terminationMessagePath !== MESSAGE_PATH)
    return 'terminationMessagePath'
  if (!sameJson(actual.args ?? [], wanted.args ?? [])) return 'args'
  if (wanted.restartPolicy === undefined && (actual.restartPolicy ?? null) !== null) return 'restartPolicy'
  return foreignEnv(actual, wanted) ?? foreignMount(actual, wanted) ?? foreignContext(actual, wanted)
}

/** Entries that are not ours: `NODE_OPTIONS`, `LD_PRELOAD` or a proxy make another program of the same image. */
function foreignEnv(actual: Container, wanted: Container): string | undefined {
  const [theirs, ours] = [actual.env ?? [], wanted.env ?? []]
  const missing = ours.find((entry) => !theirs.some((other) => sameJson(other, entry)))
  if (missing !== undefined) return `env ${missing.name}`
  const known = (entry: EnvVar) =>
    HARMLESS_ENV.test(entry.name) || ours.some((other) => sameJson(other, entry))
  const extra = theirs.find((entry) => !known(entry))
  return extra === undefined ? undefined : `env ${quote(extra.name)}`
}

function foreignMount(actual: Container, wanted: Container): string | undefined {
  const known = (mount: JsonObject) =>
    isHarmless(mount) || (wanted.volumeMounts ?? []).some((ours) => sameMount(mount, ours))
  const extra = (actual.volumeMounts ?? []).find((mount) => !known(mount))
  return extra === undefined ? undefined : `volumeMounts ${quote(String(extra.mountPath ?? ''))}`
}

function isHarmless({ name, mountPath, readOnly, ...others }: JsonObject): boolean {
  if (typeof mountPath !== 'string' || !HARMLESS_PATH.test(mountPath)) return false
  return readOnly === true && !String(name).startsWith('pod2iam-') && Object.values(others).every(blank)
}

function sameMount(actual: JsonObject, ours: JsonObject): boolean {
  return contains(actual, ours) && Object.keys(actual).every((key) => key in ours || blank(actual[key]))
}

/** Keys we set are put right by the plan, whatever they hold; others are not ours. */
function foreignContext(actual: Container, wanted: Container): string | undefined {
  const [theirs, ours] = [actual.securityContext, wanted.securityContext]
  if (!isObject(theirs) || !isObject(ours)) return undefined
  const extra = Object.keys(theirs).find(
    (key) => !(key in ours) && !blank(theirs[key]) && !(key === 'procMount' && theirs[key] === 'Default'),
  )
  return extra === undefined ? undefined : `securityContext ${quote(extra)}`
}

/** What says nothing: clients write such values out, the API server drops them. */
function blank(value: Json | undefined): boolean {
  if (Array.isArray(value)) return value.length === 0
  if (isObject(value)) return Object.keys(value).length === 0
  return value === undefined || value === null || value === false || value === ''
}
