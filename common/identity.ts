/**
 * The pod's identity as the injector writes it into the sidecar container's `env`, where the API server never
 * lets it change. The broker trusts these and requires the annotations to agree: annotations alone can be
 * patched on a running pod, also through `pods/status` and `pods/binding`.
 */
import { KEYS } from './keys.ts'

export const IDENTITY_ENV = {
  /** Where the role comes from: {@link IdentitySource}. */
  source: 'POD2IAM_IDENTITY',
  role: 'POD2IAM_ROLE',
  externalId: 'POD2IAM_EXTERNAL_ID',
  sessionName: 'POD2IAM_SESSION_NAME',
  sessionPolicies: 'POD2IAM_SESSION_POLICIES',
} as const

/**
 * `annotation`: the pod names its role; `service-account`: its service account named it when the pod was admitted; `default`: the
 * namespace's or the cluster's default; `none`: only Region and placement.
 */
const SOURCES = ['annotation', 'service-account', 'default', 'none'] as const
export type IdentitySource = (typeof SOURCES)[number]

/**
 * The parts of an identity beside its source, in the order in which they are written. The type is made of them, so that none is left out
 * of the comparison. `sessionPolicies` is the text of the annotation; `session-policies.ts` reads it.
 */
const TEXTS = ['role', 'externalId', 'sessionName', 'sessionPolicies'] as const
export type PodIdentity = { readonly source: IdentitySource } & Readonly<
  Record<(typeof TEXTS)[number], string | undefined>
>

type EnvVar = { readonly name: string; readonly value?: string }

/**
 * The identity in a pod's annotations. A pod without role annotation is `default`; one with
 * `pod2iam.dev/inject: metadata` is `none`.
 *
 * @param roleKey the configured key of the role annotation (`--role-key`)
 */
export function identityOfAnnotations(
  annotations: Readonly<Record<string, string>> | undefined,
  roleKey: string,
): PodIdentity {
  const role = annotations?.[roleKey]
  const metadataOnly = annotations?.[KEYS.inject] === 'metadata'
  return {
    source: metadataOnly ? 'none' : role === undefined ? 'default' : 'annotation',
    role: metadataOnly ? undefined : role,
    externalId: annotations?.[KEYS.externalId],
    sessionName: annotations?.[KEYS.sessionName],
    sessionPolicies: annotations?.[KEYS.sessionPolicyArns],
  }
}

/** The identity with the role of the service account, if the pod does not name a role itself. */
export function withAccountRole(identity: PodIdentity, role: string | undefined): PodIdentity {
  if (identity.source !== 'default' || role === undefined) return identity
  return { ...identity, source: 'service-account', role }
}

/**
 * The identity in a pod's annotations, to be compared with the frozen one. A role that came from the service account is taken from the frozen
 * one, since the pod's annotations do not contain it, and the current annotation of the account does not matter.
 */
export function annotatedIdentity(
  annotations: Readonly<Record<string, string>> | undefined,
  roleKey: string,
  frozen: PodIdentity | undefined,
): PodIdentity {
  const stated = identityOfAnnotations(annotations, roleKey)
  return frozen?.source === 'service-account' ? withAccountRole(stated, frozen.role) : stated
}

/**
 * The source as it is written. That of a pod with session policies is one that brokers before them do not know: they refuse such a pod
 * (`pod-not-injected`), while they would give it all rights of its role if they did not see the policies.
 */
const writtenSource = (source: IdentitySource, sessionPolicies: string | undefined) =>
  sessionPolicies === undefined ? source : `${source}-narrowed`

/** The env entries that carry an identity; only what is set is written. */
export function identityEnv(identity: PodIdentity): EnvVar[] {
  const source = writtenSource(identity.source, identity.sessionPolicies)
  const texts = TEXTS.flatMap((part) => {
    const value = identity[part]
    return value === undefined ? [] : [{ name: IDENTITY_ENV[part], value }]
  })
  return [{ name: IDENTITY_ENV.source, value: source }, ...texts]
}

/** Reads an identity back from a container's env, or undefined if it is not one of ours. */
export function identityOfEnv(env: readonly EnvVar[] | undefined): PodIdentity | undefined {
  const value = (name: string) => env?.find((entry) => entry.name === name)?.value
  const sessionPolicies = value(IDENTITY_ENV.sessionPolicies)
  const source = SOURCES.find((one) => writtenSource(one, sessionPolicies) === value(IDENTITY_ENV.source))
  if (source === undefined) return undefined
  return {
    source,
    role: value(IDENTITY_ENV.role),
    externalId: value(IDENTITY_ENV.externalId),
    sessionName: value(IDENTITY_ENV.sessionName),
    sessionPolicies,
  }
}

/** Whether two identities are the same in every part. */
export function sameIdentity(a: PodIdentity, b: PodIdentity): boolean {
  return a.source === b.source && TEXTS.every((part) => a[part] === b[part])
}
