/** All keys of ours, whether each is a label or an annotation, and on which objects it has an effect. */
import { KEYS } from '../../common/keys.ts'

export type Place = 'pod' | 'namespace'
export type Form = 'annotation' | 'label'

export type OwnKey = ReturnType<typeof own>

const POD = [
  ...(['role', 'externalId', 'sessionName', 'sessionPolicyArns'] as const),
  ...(['imdsTokens', 'startupGate', 'inject'] as const),
] as const
const NAMESPACE = ['allowedRoles', 'permitted', 'defaultRole', 'allowedExternalIds'] as const

/** @param isWritten whether the injector writes it, so that people do not mean to write it */
function own(key: string, places: readonly Place[], form: Form = 'annotation', isWritten = false) {
  return { key, form, places, isWritten }
}

/** @param roleKey the configured key of the role annotation */
export function ownKeys(roleKey: string): readonly OwnKey[] {
  return [
    ...POD.map((name) => own(name === 'role' ? roleKey : KEYS[name], ['pod'])),
    ...([KEYS.sidecarResources, KEYS.logLevel] as const).map((key) => own(key, ['pod'])),
    ...NAMESPACE.map((name) => own(KEYS[name], ['namespace'])),
    own(KEYS.credentialSource, ['namespace']),
    own(KEYS.redirect, ['pod', 'namespace']),
    own(KEYS.containerCredentials, ['pod', 'namespace']),
    own(KEYS.injection, ['namespace'], 'label'),
    own(KEYS.hostNetwork, ['namespace'], 'label'),
    own(KEYS.status, ['pod'], 'annotation', true),
    own(KEYS.injected, ['pod'], 'label', true),
  ]
}

/** The parts of a key before and after the slash; without a slash the prefix is empty. */
export function partsOf(key: string): { readonly prefix: string; readonly name: string } {
  const slash = key.indexOf('/')
  return { prefix: key.slice(0, Math.max(slash, 0)), name: key.slice(slash + 1) }
}
