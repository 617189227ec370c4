import type { CredentialSource } from '../common/credential-source.ts'
import type { PolicySettings } from '../common/policy.ts'
import {
  type ChosenResources,
  parseResources,
  type ResourceList,
  SIDECAR_RESOURCES,
} from './pod/resources.ts'
import {
  type GATE_MODES,
  type InjectorSettings,
  type RedirectMode,
  SPEC,
  type START_MODES,
  type TOKEN_MODES,
} from './settings.ts'

/** The operator's settings on which a decision depends, in addition to the pod and its namespace. */
export type InjectionSettings = {
  readonly sidecarImage: string
  readonly nodeGuardImage: string
  readonly imagePullPolicy: string
  readonly resources: ChosenResources
  readonly resourcesMax: ResourceList
  readonly redirect: RedirectMode
  readonly start: (typeof START_MODES)[number]
  readonly gateProof: 'enforce' | 'report'
  readonly gateAcceptDrop: boolean
  readonly imdsTokens: (typeof TOKEN_MODES)[number]
  readonly startupGate: (typeof GATE_MODES)[number]
  readonly hostNetworkAnnotated: 'deny' | 'warn'
  readonly sidecarLogLevel: string
  readonly tokenExpirationSeconds: number
  /** Where credentials may come from; the first is the default. */
  readonly credentialSources: readonly CredentialSource[]
  /**
   * Whether pods can be made for web identity: not while a replica serves that refuses what it does not write itself (release 0.1.0).
   */
  readonly writesWebIdentity: boolean
  /** Lists of replicas with other settings, while they exist: what they chose for a pod is right, too. */
  readonly otherCredentialSources: readonly (readonly CredentialSource[])[]
  readonly webIdentityAudience: string
  readonly sessionTags: boolean
  readonly roleKey: string
  /** Role keys of replicas with other settings, while they exist: a pod annotated with one of these also asks for a role. */
  readonly otherRoleKeys: readonly string[]
  /** Annotation by which a service account names the role of its pods; undefined: roles do not come from there. */
  readonly serviceAccountKey: string | undefined
  /** The same of replicas with other settings, while they exist: what they made of a pod is right, too. */
  readonly otherServiceAccountKeys: readonly (string | undefined)[]
  /** Images that other replicas are configured with: their repositories are trusted like our own. */
  readonly otherSidecarImages: readonly string[]
  readonly otherNodeGuardImages: readonly string[]
  /** Registries, with or without a path, to which the images may have been moved by an image swapper. */
  readonly trustedRegistries: readonly string[]
  readonly defaultRole: string | undefined
  readonly policy: PolicySettings
}

/** The flags for {@link InjectionSettings}, which are also all that is read of another replica's command line. */
export const INJECTION_SPEC = pick([
  ...(['sidecarImage', 'nodeGuardImage', 'trustedRegistries', 'imagePullPolicy'] as const),
  ...([
    'sidecarResources',
    'sidecarResourcesMax',
    'redirect',
    'start',
    'gateProof',
    'gateAcceptDrop',
  ] as const),
  ...(['imdsTokens', 'startupGate', 'hostNetworkAnnotated', 'sidecarLogLevel'] as const),
  ...([
    'tokenExpirationSeconds',
    'credentialSources',
    'webIdentityAudience',
    'sessionTags',
    'baseRoleArn',
    'defaultRole',
    'roleKey',
    'serviceAccountRoles',
    'serviceAccountRoleKey',
  ] as const),
  ...(['namespaceRestrictions', 'namespaceRestrictionFormat', 'permittedRoles'] as const),
])

/** Extracts them from the process's settings, which must have no mistakes (`settingMistakes`). */
export function injectionSettings(
  settings: Pick<InjectorSettings, keyof typeof INJECTION_SPEC>,
): InjectionSettings {
  const own = parseResources(settings.sidecarResources, SIDECAR_RESOURCES, settings.sidecarResourcesMax)
  if (!own.ok) throw new Error(`--sidecar-resources ${own.detail}`)
  return {
    sidecarImage: settings.sidecarImage,
    nodeGuardImage: settings.nodeGuardImage,
    imagePullPolicy: settings.imagePullPolicy,
    resources: own.resources,
    resourcesMax: settings.sidecarResourcesMax,
    redirect: settings.redirect,
    start: settings.start,
    gateProof: settings.gateProof,
    gateAcceptDrop: settings.gateAcceptDrop,
    imdsTokens: settings.imdsTokens,
    startupGate: settings.startupGate,
    hostNetworkAnnotated: settings.hostNetworkAnnotated,
    sidecarLogLevel: settings.sidecarLogLevel,
    tokenExpirationSeconds: settings.tokenExpirationSeconds,
    credentialSources: settings.credentialSources,
    writesWebIdentity: true,
    otherCredentialSources: [],
    webIdentityAudience: settings.webIdentityAudience,
    sessionTags: settings.sessionTags,
    roleKey: settings.roleKey,
    otherRoleKeys: [],
    serviceAccountKey: settings.serviceAccountRoles ? settings.serviceAccountRoleKey : undefined,
    otherServiceAccountKeys: [],
    otherSidecarImages: [],
    otherNodeGuardImages: [],
    trustedRegistries: settings.trustedRegistries,
    defaultRole: settings.defaultRole,
    policy: {
      restrictions: settings.namespaceRestrictions,
      format: settings.namespaceRestrictionFormat,
      base: settings.baseRoleArn,
      permittedRoles: settings.permittedRoles,
    },
  }
}

function pick<K extends keyof typeof SPEC>(names: readonly K[]): Pick<typeof SPEC, K> {
  return Object.fromEntries(names.map((name) => [name, SPEC[name]])) as Pick<typeof SPEC, K>
}
