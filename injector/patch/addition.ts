/** Renders what is added to one pod from identity, options and settings; the same input renders the same bytes. */
import { createHash } from 'node:crypto'
import type { PodIdentity } from '../../common/identity.ts'
import { KEYS } from '../../common/keys.ts'
import { VERSION } from '../../common/version.ts'
import { ourVolumes } from '../form/volumes.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { isGuaranteed } from '../pod/guaranteed.ts'
import type { PodOptions } from '../pod/options.ts'
import type { Pod } from '../pod/pod.ts'
import { fittedToPod } from '../pod/pod-level.ts'
import { inProportion } from '../pod/proportion.ts'
import { type Start, startOf } from '../pod/stages.ts'
import {
  AUTO,
  type ChosenResources,
  gateResources,
  guaranteed,
  type OwnResources,
  type Resources,
} from '../resources/resources.ts'
import { gateContainer } from './gate.ts'
import { sidecarContainer } from './sidecar.ts'

export type Addition = ReturnType<typeof renderAddition>

/** Resources of the sidecar and the gate, where there is one, in this pod. */
export function ownResources(pod: Pod, chosen: ChosenResources, start: Start): OwnResources {
  const own = inProportion(pod, chosen)
  const { sidecar, gate } = isGuaranteed(pod)
    ? { sidecar: guaranteed(own.sidecar), gate: guaranteed(own.gate) }
    : own
  return fittedToPod(pod, { sidecar, gate: start === 'one-stage' ? undefined : gate })
}

/** The resources as people write them, with `auto` for a CPU request that follows from the pod. */
function spelled({ requests: { cpu = AUTO, memory }, limits }: ChosenResources): Resources {
  return { requests: { cpu, memory }, limits }
}

/** @param shownRole the role in the status annotation, for people */
export function renderAddition(
  pod: Pod,
  identity: PodIdentity,
  shownRole: string,
  chosen: PodOptions,
  settings: InjectionSettings,
) {
  // SDKs fail if they find container credentials configured for a pod without a role, instead of finding no credentials.
  const hasRole = identity.role !== undefined || shownRole !== identity.source
  const options = { ...chosen, containerCredentials: chosen.containerCredentials && hasRole }
  const start = startOf(pod, options.redirect, settings)
  const resources = ownResources(pod, options.resources, start)
  const containers = (own: OwnResources) => ({
    sidecar: sidecarContainer(identity, options, own.sidecar, settings, start),
    gate: own.gate && gateContainer(pod, options, own.gate, settings),
  })
  const volumes = ourVolumes(settings, options)
  const { sidecar, gate } = containers(resources)
  // A hash of the chosen resources: those that follow from the pod's own may differ when the webhook is reinvoked.
  const unfitted = containers({
    sidecar: spelled(options.resources),
    gate: gate && spelled(gateResources(options.resources)),
  })
  const hash = createHash('sha256')
    .update(JSON.stringify([unfitted.sidecar, ...(unfitted.gate ? [unfitted.gate] : []), volumes]))
    .digest('hex')
  const status = {
    version: VERSION,
    role: shownRole,
    redirect: options.redirect,
    ...(start === 'one-stage' ? { start } : {}),
    ...(identity.source === 'service-account' ? { roleFrom: identity.source } : {}),
    ...(options.credentialSource === 'web-identity' ? { credentialSource: options.credentialSource } : {}),
    ...(options.containerCredentials ? { containerCredentials: true } : {}),
    ...(settings.gateProof === 'report' ? { gateProof: 'report' } : {}),
    template: hash.slice(0, 12),
  }
  return {
    sidecar,
    /** Undefined where the pod starts in one stage. */
    gate,
    resources,
    volumes,
    labels: { [KEYS.injected]: 'true' },
    annotations: { [KEYS.status]: JSON.stringify(status) },
    /** In mode `env` the user's containers that run after ours get variables that say where the sidecar is. */
    redirect: options.redirect,
    /** Whether they also get container credentials. */
    containerCredentials: options.containerCredentials,
  }
}
