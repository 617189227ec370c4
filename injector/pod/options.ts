/** The options that the annotations of a pod and its namespace choose, within the operator's bounds. */
import { type CredentialSource, sourceOfNamespace } from '../../common/credential-source.ts'
import { KEYS } from '../../common/keys.ts'
import { LOG_LEVELS } from '../../common/log.ts'
import { type Failed, failed } from '../../common/result.ts'
import { quote } from '../../common/role.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { type ChosenResources, parseResources } from '../resources/resources.ts'
import { CONTAINER_MODES, GATE_MODES, REDIRECT_MODES, type RedirectMode, TOKEN_MODES } from '../settings.ts'
import type { Namespace } from './namespace.ts'

export type PodOptions = {
  readonly redirect: RedirectMode
  readonly imdsTokens: (typeof TOKEN_MODES)[number]
  /** Whether containers also get the variables for container credentials; only in redirect mode `env`. */
  readonly containerCredentials: boolean
  readonly startupGate: (typeof GATE_MODES)[number]
  readonly logLevel: string
  /** As the namespace chooses, or the operator's default. */
  readonly credentialSource: CredentialSource
  readonly resources: ChosenResources
}

type OptionsResult =
  | { readonly ok: true; readonly options: PodOptions; readonly warnings: readonly string[] }
  | Failed

type Annotations = Readonly<Record<string, string>>

const POD_SECURITY = 'pod-security.kubernetes.io/enforce'
const MAX_RESOURCES_TEXT = 1024

/** Reads the options, or returns one sentence about the first annotation with an invalid value. */
export function readOptions(
  annotations: Annotations,
  namespace: Namespace,
  settings: InjectionSettings,
): OptionsResult {
  const warnings: string[] = []
  try {
    const pod = new AnnotationReader(annotations, 'annotation')
    const ofNamespace = new AnnotationReader(namespace.annotations, `namespace ${namespace.name}: annotation`)
    pod.choice(KEYS.inject, ['false', 'metadata'])
    const redirect = redirectMode(pod, ofNamespace, namespace, settings, warnings)
    const tokens = pod.choice(KEYS.imdsTokens, TOKEN_MODES) ?? settings.imdsTokens
    if (tokens === 'optional' && settings.imdsTokens === 'required')
      warnings.push(`${KEYS.imdsTokens}: optional has no effect, this cluster requires IMDSv2 tokens`)
    const imdsTokens = settings.imdsTokens === 'required' ? 'required' : tokens
    const containerCredentials = asksForContainer(pod, ofNamespace, redirect, settings, warnings)
    const startupGate = pod.choice(KEYS.startupGate, GATE_MODES) ?? settings.startupGate
    const logLevel = pod.choice(KEYS.logLevel, LOG_LEVELS) ?? settings.sidecarLogLevel
    const resources = sidecarResources(annotations[KEYS.sidecarResources], settings)
    const credentialSource = sourceOf(annotations, namespace, settings, warnings)
    const options = { redirect, imdsTokens, containerCredentials, startupGate, logLevel, resources }
    return { ok: true, options: { ...options, credentialSource }, warnings }
  } catch (error) {
    if (error instanceof AnnotationError) return failed(error.message)
    throw error
  }
}

/**
 * Pod annotation, then namespace annotation, then PodSecurity (`baseline` and `restricted` refuse the gate's
 * NET_ADMIN, also with `hostUsers: false`), then the operator's default.
 */
function redirectMode(
  pod: AnnotationReader,
  ofNamespace: AnnotationReader,
  namespace: Namespace,
  settings: InjectionSettings,
  warnings: string[],
): RedirectMode {
  const level = namespace.labels[POD_SECURITY]
  const refusesNetAdmin = level === 'baseline' || level === 'restricted'
  const annotated =
    pod.choice(KEYS.redirect, REDIRECT_MODES) ?? ofNamespace.choice(KEYS.redirect, REDIRECT_MODES)
  // Whether PodSecurity will refuse it is not certain: users and runtime classes can be exempt.
  if (annotated === 'nft' && refusesNetAdmin)
    warnings.push(
      `${KEYS.redirect}: nft needs NET_ADMIN, which PodSecurity ${level} of namespace ${namespace.name} refuses; use env`,
    )
  return annotated ?? (refusesNetAdmin ? 'env' : settings.redirect)
}

/** Off unless chosen: SDKs prefer container credentials, and those from before 2024 fail with them (docs/decisions/0136). */
function asksForContainer(
  pod: AnnotationReader,
  ofNamespace: AnnotationReader,
  redirect: RedirectMode,
  { containerCredentials, mayWriteNewFields }: InjectionSettings,
  warnings: string[],
): boolean {
  const own = pod.choice(KEYS.containerCredentials, CONTAINER_MODES)
  const others = ofNamespace.choice(KEYS.containerCredentials, CONTAINER_MODES) ?? containerCredentials
  if (own === 'on' && redirect === 'nft')
    warnings.push(
      `${KEYS.containerCredentials}: "on" has no effect in redirect mode nft, in which clients need nothing but the metadata address`,
    )
  const chosen = (own ?? others) === 'on' && redirect === 'env'
  if (chosen && !mayWriteNewFields)
    warnings.push(
      'the pod gets no container credentials, since an injector of a release before them is still serving: delete the pod when the rollout is over',
    )
  return chosen && mayWriteNewFields
}

/**
 * The credential sources that a namespace may name: this replica's list, whose first is the default, and, while they serve, those of other
 * replicas. Otherwise namespaces that are annotated together with a change of the list would lose pods during its rollout.
 */
export function namedSources({
  credentialSources,
  otherCredentialSources,
}: InjectionSettings): readonly CredentialSource[] {
  return [...new Set([credentialSources, ...otherCredentialSources].flat())]
}

/**
 * AssumeRoleWithWebIdentity supports neither external ids nor our session tags and source identities, so a pod that relies on them must
 * not be admitted.
 */
function sourceOf(
  annotations: Annotations,
  namespace: Namespace,
  settings: InjectionSettings,
  warnings: string[],
): CredentialSource {
  const { mayWriteNewFields, sessionTags, sourceIdentity } = settings
  const chosen = sourceOfNamespace(namespace, namedSources(settings))
  if (!chosen.ok) throw new AnnotationError(chosen.detail)
  if (annotations[KEYS.credentialSource] !== undefined)
    warnings.push(`annotation ${KEYS.credentialSource} has no effect on a pod: it belongs on the namespace`)
  if (chosen.source === 'node-role') return chosen.source
  if (annotations[KEYS.externalId] !== undefined)
    throw new AnnotationError(
      `annotation ${KEYS.externalId} cannot be honoured: pods of namespace ${namespace.name} get their roles by web identity ` +
        '(AssumeRoleWithWebIdentity), which has no external id: remove it, and have the trust policy demand the service account instead',
    )
  const demanded = [
    ...(sessionTags ? ['session tags (broker.sessionTags, broker.extraSessionTags)'] : []),
    ...(sourceIdentity === undefined ? [] : ['source identity (broker.sourceIdentity)']),
  ].join(' and ')
  if (demanded !== '')
    throw new AnnotationError(
      `pods of namespace ${namespace.name} get their roles by web identity (AssumeRoleWithWebIdentity), which has none of the ${demanded} ` +
        `that the operator demands: choose the credential source node-role for it (annotation ${KEYS.credentialSource}), or ask the operator to turn that off`,
    )
  if (mayWriteNewFields) return chosen.source
  warnings.push(
    'the pod gets its role with the node’s, since an injector of a release before web identity is still serving: delete the pod when the rollout is over',
  )
  return 'node-role'
}

function sidecarResources(text: string | undefined, settings: InjectionSettings): ChosenResources {
  if (text === undefined) return settings.resources
  const where = `annotation ${KEYS.sidecarResources}`
  if (text.length > MAX_RESOURCES_TEXT)
    throw new AnnotationError(`${where} is longer than ${MAX_RESOURCES_TEXT} characters`)
  const result = parseResources(text, settings.resources, settings.resourcesMax)
  if (!result.ok) throw new AnnotationError(`${where} ${result.detail}`)
  return result.resources
}

class AnnotationError extends Error {}

class AnnotationReader {
  readonly #annotations: Annotations
  readonly #where: string

  constructor(annotations: Annotations, where: string) {
    this.#annotations = annotations
    this.#where = where
  }

  /** One of `values`, or undefined if the annotation is absent. */
  choice<const T extends string>(key: string, values: readonly T[]): T | undefined {
    const text = this.#annotations[key]
    if (text === undefined) return undefined
    const known = values.find((value) => value === text)
    if (known !== undefined) return known
    const list = values.map((value) => JSON.stringify(value)).join(' or ')
    throw new AnnotationError(`${this.#where} ${key} must be ${list}, not ${quote(text)}`)
  }
}
