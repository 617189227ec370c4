import type { CredentialSource } from '../common/credential-source.ts'
import type { PolicySettings } from '../common/policy.ts'
import type { Settings } from '../common/settings.ts'
import {
  type ChosenResources,
  parseResources,
  type ResourceList,
  SIDECAR_RESOURCES,
} from './resources/resources.ts'
import { INJECTION_SPEC } from './settings.ts'

type Given = Settings<typeof INJECTION_SPEC>

/** Settings of which only the parsed values are used. */
type Parsed =
  | 'sidecarResources'
  | 'sidecarResourcesMax'
  | 'namespaceRestrictions'
  | 'namespaceRestrictionFormat'
  | 'baseRoleArn'
  | 'permittedRoles'

/** The operator's settings on which a decision depends, in addition to the pod and its namespace. */
export type InjectionSettings = Omit<Given, Parsed> & {
  readonly resources: ChosenResources
  readonly resourcesMax: ResourceList
  readonly policy: PolicySettings
  /**
   * Whether pods can have fields that release 0.1.0 does not know, for web identity, container credentials and session policies: not while
   * a replica of that release serves, since it refuses everything that it does not write itself.
   */
  readonly mayWriteNewFields: boolean
  /** Lists of replicas with other settings, while they exist: what they chose for a pod is accepted too. */
  readonly otherCredentialSources: readonly (readonly CredentialSource[])[]
  /** Role keys of replicas with other settings, while they exist: a pod annotated with one of these also asks for a role. */
  readonly otherRoleKeys: readonly string[]
  /** Annotation by which a service account names the role of its pods; undefined: roles do not come from there. */
  readonly serviceAccountKey: string | undefined
  /** The keys of replicas with other settings, while they exist: pods that they mutated are accepted, too. */
  readonly otherServiceAccountKeys: readonly (string | undefined)[]
  /** Images that other replicas are configured with: their repositories are trusted like our own. */
  readonly otherSidecarImages: readonly string[]
  readonly otherNodeGuardImages: readonly string[]
}

/** Extracts these settings from those of the process, which must have no mistakes (`settingMistakes`). @throws for invalid `--sidecar-resources` */
export function injectionSettings(settings: Given): InjectionSettings {
  // The process has further settings, in which replicas may differ.
  const given = Object.keys(INJECTION_SPEC).map((name) => [name, settings[name as keyof Given]])
  const {
    sidecarResources,
    sidecarResourcesMax: resourcesMax,
    namespaceRestrictions: restrictions,
    namespaceRestrictionFormat: format,
    baseRoleArn: base,
    permittedRoles,
    ...used
  } = Object.fromEntries(given) as Given
  const own = parseResources(sidecarResources, SIDECAR_RESOURCES, resourcesMax)
  if (!own.ok) throw new Error(`--sidecar-resources ${own.detail}`)
  return {
    ...used,
    resources: own.resources,
    resourcesMax,
    policy: { restrictions, format, base, permittedRoles },
    mayWriteNewFields: true,
    otherCredentialSources: [],
    otherRoleKeys: [],
    serviceAccountKey: settings.serviceAccountRoles ? settings.serviceAccountRoleKey : undefined,
    otherServiceAccountKeys: [],
    otherSidecarImages: [],
    otherNodeGuardImages: [],
  }
}
