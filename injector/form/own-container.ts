/**
 * Containers with our names that a pod already has: either ours from an earlier pass, from another replica or from a manifest copied
 * from a running pod, or foreign ones.
 */
import { SIDECAR_CONTAINER } from '../../common/keys.ts'
import { quote } from '../../common/role.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { blank, contains, type JsonObject } from '../json.ts'
import type { Container, EnvVar } from '../pod/pod.ts'
import type { Kind } from '../pod/reserved.ts'
import type { Start } from '../pod/stages.ts'
import type { RedirectMode } from '../settings.ts'
import { foreignField, hasStartHook } from './container-form.ts'
import { environmentProblem } from './environment.ts'
import { redirectOf } from './gate-arguments.ts'
import { type ImageTrust, isTrusted } from './image-reference.ts'
import { securityProblem } from './security-context.ts'
import { CONTAINER_TOKEN_MOUNT, MOUNTS, WEB_IDENTITY_MOUNT } from './volumes.ts'

/**
 * Variables that webhooks add to every container and that neither Node nor our programs read: those for the clouds' workload
 * identity (AWS's webhook is reinvoked after ours on EKS), for agents, meshes and proxies, and for other languages' runtimes. A list
 * of harmful variables could never be complete, so this is a list of harmless ones (docs/decisions/0099).
 */
const HARMLESS_ENV = new RegExp(
  `^(?:${[
    '(?:AWS|AZURE|GOOGLE|CLOUDSDK|DD|OTEL|ISTIO|LINKERD|VAULT|DAPR|ELASTIC_APM|NEW_RELIC|CORECLR|DOTNET)_[A-Z0-9_]+',
    '(?:HTTPS?|NO|ALL|FTP)_PROXY|(?:https?|no|all|ftp)_proxy',
    '(?:JAVA_TOOL|JDK_JAVA|_JAVA)_OPTIONS|JAVA_OPTS|PYTHONPATH',
  ].join('|')})$`,
)
/**
 * Where webhooks put files into every container: tokens, certificates and agents. Our programs, Node, its libraries and our own
 * directories are elsewhere.
 */
const HARMLESS_PATH = new RegExp(
  `^/(?:${[
    'var/run/secrets/(?!pod2iam(?:[-/]|$)|kubernetes\\.io(?:/|$))NAME|opt/NAME|vault/NAME',
    'etc/ssl/certs|etc/pki|usr/local/share/ca-certificates|usr/share/zoneinfo',
  ].join('|')})(?:/NAME)*$`.replaceAll('NAME', '[A-Za-z0-9][-A-Za-z0-9._]*'),
)
/** The API server's default. The kubelet mounts a file at this path, which must not hide a file of the image. */
export const MESSAGE_PATH = '/dev/termination-log'

/** Which images of one of our containers are ours. */
export function trustOf(kind: Kind, settings: InjectionSettings): ImageTrust {
  const registries = settings.trustedRegistries
  return kind === SIDECAR_CONTAINER
    ? { image: settings.sidecarImage, others: settings.otherSidecarImages, registries }
    : { image: settings.nodeGuardImage, others: settings.otherNodeGuardImages, registries }
}

/** The part that shows that a container with our name is foreign and must not be repaired: its image, fields or arguments. */
export function foreignPart(kind: Kind, actual: Container, settings: InjectionSettings): string | undefined {
  if (!isTrusted(trustOf(kind, settings), actual.image)) return `image ${quote(actual.image ?? '')}`
  return foreignField(kind, actual)
}

/** How our containers in a pod work together. */
type AgreedForm = { readonly redirect: RedirectMode; readonly start: Start }

/** The first part of a container that no release of ours writes, whatever its settings; undefined if it has our form. */
export function formProblem(
  kind: Kind,
  actual: Container,
  { redirect, start }: AgreedForm,
  settings: InjectionSettings,
): string | undefined {
  const needed = MOUNTS[kind]
  const missing = needed.find((mount) => !(actual.volumeMounts ?? []).some((other) => contains(other, mount)))
  return (
    foreignPart(kind, actual, settings) ??
    (kind === SIDECAR_CONTAINER && actual.restartPolicy !== 'Always' ? 'restartPolicy' : undefined) ??
    (hasOwnMessagePath(actual) ? undefined : 'terminationMessagePath') ??
    (kind === SIDECAR_CONTAINER && hasStartHook(actual) !== (start === 'one-stage')
      ? 'lifecycle'
      : undefined) ??
    environmentProblem(kind, actual.env ?? [], start, isHarmlessVariable) ??
    (missing && `volumeMounts ${quote(String(missing.mountPath))} is missing`) ??
    foreignMount(kind, actual.volumeMounts ?? []) ??
    securityProblem(kind, actual.securityContext, redirect)
  )
}

/** How apps reach the sidecar and how the pod starts; undefined if sidecar and gate do not agree. Without a gate there is no redirect. */
export function agreedForm(sidecar: Container, gate: Container | undefined): AgreedForm | undefined {
  const redirect = gate === undefined ? 'env' : redirectOf(gate)
  const selfTest = sidecar.env?.find(({ name }) => name === 'POD2IAM_SELF_TEST')?.value
  if (redirect === undefined || (redirect === 'nft') !== (selfTest === 'redirect')) return undefined
  return { redirect, start: gate === undefined ? 'one-stage' : 'two-stage' }
}

export const hasOwnMessagePath = ({ terminationMessagePath }: Container): boolean =>
  blank(terminationMessagePath) || terminationMessagePath === MESSAGE_PATH

/** Whether nothing in our containers reads this variable. */
export const isHarmlessVariable = ({ name }: EnvVar): boolean => HARMLESS_ENV.test(name)

function foreignMount(kind: Kind, mounts: readonly JsonObject[]): string | undefined {
  const extra = mounts.find((mount) => !isHarmlessMount(mount) && !isOwnMount(kind, mount))
  return extra && `volumeMounts ${quote(String(extra.mountPath ?? ''))}`
}

/** Whether this mount hides nothing of ours. */
export function isHarmlessMount({ name, mountPath, readOnly, ...others }: JsonObject): boolean {
  if (typeof mountPath !== 'string' || !HARMLESS_PATH.test(mountPath)) return false
  return readOnly === true && !String(name).startsWith('pod2iam-') && Object.values(others).every(blank)
}

export function isOwnMount(kind: Kind, actual: JsonObject): boolean {
  const own =
    kind === SIDECAR_CONTAINER ? [...MOUNTS[kind], WEB_IDENTITY_MOUNT, CONTAINER_TOKEN_MOUNT] : MOUNTS[kind]
  return own.some(
    (ours) => contains(actual, ours) && Object.keys(actual).every((key) => key in ours || blank(actual[key])),
  )
}
