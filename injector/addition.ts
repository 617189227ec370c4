/** What is added to one pod: rendered from identity, options and settings; the same input renders the same bytes. */
import { createHash } from 'node:crypto'
import { SIDECAR_PORT } from '../common/addresses.ts'
import type { PodIdentity } from '../common/identity.ts'
import { KEYS } from '../common/keys.ts'
import { VERSION } from '../common/version.ts'
import { isOurs } from './container-form.ts'
import { gateContainer } from './gate-container.ts'
import type { InjectionSettings } from './injection-settings.ts'
import type { JsonObject } from './json.ts'
import type { Container, Pod } from './pod.ts'
import { fitted } from './pod-level.ts'
import type { PodOptions } from './pod-options.ts'
import { gateResources, guaranteed, isGuaranteed, type OwnResources, type Resources } from './resources.ts'
import { ourVolumes, sidecarContainer } from './sidecar-container.ts'

export type Addition = {
  readonly sidecar: Container
  readonly gate: Container
  readonly resources: OwnResources
  readonly volumes: readonly (JsonObject & { readonly name: string })[]
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  /** For every container of the user's that runs after the gate; redirect mode `env` only. */
  readonly appEnv: { readonly name: string; readonly value: string } | undefined
}

/** Name of the variable by which SDKs find a metadata service elsewhere; the CLI and every SDK honour it. */
export const ENDPOINT_ENV = 'AWS_EC2_METADATA_SERVICE_ENDPOINT'

/** Where the sidecar listens, for apps that are led to it by {@link ENDPOINT_ENV}. */
export const SIDECAR_ENDPOINT = `http://127.0.0.1:${SIDECAR_PORT}/`

/** What the sidecar and the gate have in this pod, where these are chosen for the sidecar: before and after they are fitted into the pod's own. */
export function ownResources(
  pod: Pod,
  sidecar: Resources,
): { readonly chosen: OwnResources; readonly resources: OwnResources } {
  const adjusted = isGuaranteed(pod, isOurs) ? guaranteed : <T>(resources: T) => resources
  const chosen = { sidecar: adjusted(sidecar), gate: adjusted(gateResources(sidecar)) }
  return { chosen, resources: fitted(pod, chosen) }
}

/** @param shownRole the role as the status annotation tells it to people */
export function renderAddition(
  pod: Pod,
  identity: PodIdentity,
  shownRole: string,
  options: PodOptions,
  settings: InjectionSettings,
): Addition {
  const { chosen, resources } = ownResources(pod, options.resources)
  const containers = (own: OwnResources) =>
    [
      sidecarContainer(identity, options, own.sidecar, settings),
      gateContainer(pod, options, own.gate, settings),
    ] as const
  const volumes = ourVolumes(settings)
  const [sidecar, gate] = containers(resources)
  // Of what was chosen: what is left of a pod's resources is another when the webhook is asked again.
  const hash = createHash('sha256')
    .update(JSON.stringify([...containers(chosen), volumes]))
    .digest('hex')
  const status = {
    version: VERSION,
    role: shownRole,
    redirect: options.redirect,
    ...(settings.gateProof === 'report' ? { gateProof: 'report' } : {}),
    template: hash.slice(0, 12),
  }
  return {
    sidecar,
    gate,
    resources,
    volumes,
    labels: { [KEYS.injected]: 'true' },
    annotations: { [KEYS.status]: JSON.stringify(status) },
    appEnv: options.redirect === 'env' ? { name: ENDPOINT_ENV, value: SIDECAR_ENDPOINT } : undefined,
  }
}
