/**
 * Whether a pod has its sidecar, and its gate or the start hook, after all mutating webhooks, in the form that any supported release
 * gives them. What the current settings would write does not matter (docs/decisions/0099).
 */

import { type CredentialSource, sourceOfEnv } from '../../common/credential-source.ts'
import { identityOfAnnotations, identityOfEnv, sameIdentity, withAccountRole } from '../../common/identity.ts'
import {
  CONTAINER_TOKEN_VOLUME,
  GATE_CONTAINER,
  SIDECAR_CONTAINER,
  WEB_IDENTITY_VOLUME,
} from '../../common/keys.ts'
import { type Failed, failed } from '../../common/result.ts'
import { quote } from '../../common/role.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { mayBeFirst } from '../pod/mesh.ts'
import type { Container, Pod } from '../pod/pod.ts'
import { isOurs, ownContainer } from '../pod/reserved.ts'
import { sharesHostMemory } from '../pod/stages.ts'
import { hasStartHook } from './container-form.ts'
import { CONTAINER_TOKEN_FILE_ENV } from './environment.ts'
import { agreedForm, formProblem } from './own-container.ts'
import { ourVolumes } from './volumes.ts'

type FinalPod =
  | {
      readonly ok: true
      /** Key of the annotation with the sidecar's role. */
      readonly roleKey: string
      readonly warnings: readonly string[]
    }
  /** Completes "the pod asks for an IAM role, but ". */
  | Failed

/**
 * Judges a pod after all mutating webhooks.
 *
 * @param pod without foreign content under our names (`foreignContent`)
 * @param sources credential sources that a replica may have chosen for a pod of its namespace
 * @param accountRole the role that its service account names, if that counts
 */
export function judgeFinalPod(
  pod: Pod,
  settings: InjectionSettings,
  sources: readonly CredentialSource[],
  accountRole?: string,
): FinalPod {
  const [sidecar, gate] = [ownContainer(pod, SIDECAR_CONTAINER), ownContainer(pod, GATE_CONTAINER)]
  if (sidecar === undefined) return failed(`it has no init container ${SIDECAR_CONTAINER}`)
  const problem = containersProblem(pod, sidecar, gate, settings)
  if (problem !== undefined) return failed(problem)
  const source = sourceOfEnv(sidecar.env)
  if (source === undefined || !sources.includes(source))
    return failed(`${SIDECAR_CONTAINER} has a credential source that is not its namespace's`)
  const unfit = webIdentityProblem(sidecar, source)
  if (unfit !== undefined) return failed(unfit)
  const containerCredentials = mounts(sidecar, CONTAINER_TOKEN_VOLUME)
  if (containerCredentials !== hasVariable(sidecar, CONTAINER_TOKEN_FILE_ENV))
    return failed(`${SIDECAR_CONTAINER} has the secret of the container credentials only in part`)
  const lost = ourVolumes(settings, { credentialSource: source, containerCredentials }).find(
    ({ name }) => !pod.spec.volumes?.some((one) => one.name === name),
  )
  if (lost !== undefined) return failed(`volume ${lost.name} is missing`)
  const roleKey = keyOfIdentity(pod, sidecar, settings, accountRole)
  if (roleKey === undefined)
    return failed(
      `the identity in the environment of ${SIDECAR_CONTAINER} is not the one in its annotations${accountRole === undefined ? '' : ', with the role of its service account as it is now'}`,
    )
  const early = earlyContainer(pod.spec.initContainers ?? [])
  const ours = gate === undefined ? SIDECAR_CONTAINER : `${SIDECAR_CONTAINER} and ${GATE_CONTAINER}`
  const warnings =
    early === undefined
      ? []
      : [
          `init container ${quote(early.name)} starts before ${ours}, so it has no credentials: ` +
            'another webhook put it there after the injector',
        ]
  return { ok: true, roleKey, warnings }
}

/** What is wrong with the containers by which the pod waits for the block and for credentials: a gate, or the sidecar's start hook. */
function containersProblem(
  { spec }: Pod,
  sidecar: Container,
  gate: Container | undefined,
  settings: InjectionSettings,
): string | undefined {
  const noGate = `it has no init container ${GATE_CONTAINER}`
  if (gate === undefined && !hasStartHook(sidecar)) return noGate
  if (gate === undefined && sharesHostMemory(spec)) return `it has hostIPC, and ${noGate}`
  const form = agreedForm(sidecar, gate)
  if (form === undefined)
    return gate === undefined
      ? `${SIDECAR_CONTAINER} waits for a redirect, and ${noGate}`
      : `${SIDECAR_CONTAINER} and ${GATE_CONTAINER} do not agree on how the app reaches the sidecar`
  for (const container of gate === undefined ? [sidecar] : [sidecar, gate]) {
    const kind = container === gate ? GATE_CONTAINER : SIDECAR_CONTAINER
    const problem = formProblem(kind, container, form, settings)
    if (problem !== undefined) return `init container ${kind} is not as the injector leaves it (${problem})`
  }
  const initContainers = spec.initContainers ?? []
  // The gate waits for a sidecar that the kubelet would start only after it.
  return gate !== undefined && initContainers.indexOf(gate) < initContainers.indexOf(sidecar)
    ? `init container ${GATE_CONTAINER} comes before ${SIDECAR_CONTAINER}`
    : undefined
}

/** What is wrong with the second token: its source, file and mount must be present together or not at all. */
function webIdentityProblem(sidecar: Container, source: CredentialSource): string | undefined {
  const isWanted = source === 'web-identity'
  const hasFile = hasVariable(sidecar, 'POD2IAM_WEB_IDENTITY_TOKEN_FILE')
  const hasMount = mounts(sidecar, WEB_IDENTITY_VOLUME)
  return hasFile === isWanted && hasMount === isWanted
    ? undefined
    : `${SIDECAR_CONTAINER} does not have the web identity token as its credential source ${source} has it`
}

const hasVariable = ({ env }: Container, wanted: string): boolean =>
  (env ?? []).some(({ name }) => name === wanted)
const mounts = ({ volumeMounts }: Container, volume: string): boolean =>
  (volumeMounts ?? []).some(({ name }) => name === volume)

/** The role key with which the annotations give the sidecar's identity: this replica's, or that of another replica. */
function keyOfIdentity(
  { metadata }: Pod,
  { env }: Container,
  { roleKey, otherRoleKeys }: InjectionSettings,
  accountRole: string | undefined,
): string | undefined {
  const identity = identityOfEnv(env)
  const wanted = (key: string) =>
    withAccountRole(identityOfAnnotations(metadata?.annotations, key), accountRole)
  return [roleKey, ...otherRoleKeys].find((key) => identity && sameIdentity(identity, wanted(key)))
}

/** The first init container before one of ours that does not belong to a mesh. */
function earlyContainer(initContainers: readonly Container[]): Container | undefined {
  const last = initContainers.findLastIndex((one) => isOurs(one))
  return initContainers.slice(0, Math.max(last, 0)).find((one) => !mayBeFirst(one))
}
