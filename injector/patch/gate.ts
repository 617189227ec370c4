import { BROKER_PORT, SIDECAR_HEALTH_PORT, SIDECAR_PORT } from '../../common/addresses.ts'
import { GATE_CONTAINER } from '../../common/keys.ts'
import { MOUNTS } from '../form/volumes.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import type { PodOptions } from '../pod/options.ts'
import type { Container, Pod } from '../pod/pod.ts'
import type { Resources } from '../resources/resources.ts'
import { UNPRIVILEGED } from './sidecar.ts'

/** Root, because `nft` needs it: file capabilities would break the image's other uses. NET_ADMIN is its only capability. */
const NET_ADMIN_ONLY = {
  ...UNPRIVILEGED,
  runAsUser: 0,
  runAsGroup: 0,
  runAsNonRoot: false,
  capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
} as const

/**
 * The gate: proves that the real metadata endpoint is refused, loads the redirect (mode `nft`) and waits until the
 * sidecar is ready. Convention: the image's entrypoint is the firewall program; only `args` are set.
 */
export function gateContainer(
  pod: Pod,
  options: PodOptions,
  resources: Resources,
  settings: InjectionSettings,
): Container {
  return {
    name: GATE_CONTAINER,
    image: settings.nodeGuardImage,
    imagePullPolicy: settings.imagePullPolicy,
    args: [
      'redirect',
      `--redirect=${options.redirect}`,
      `--proof=${settings.gateProof}`,
      ...(settings.gateAcceptDrop ? ['--accept-drop'] : []),
      // Written out although they are defaults: a Service named `pod2iam-broker` would set POD2IAM_BROKER_PORT=tcp://….
      `--sidecar-port=${SIDECAR_PORT}`,
      `--broker-port=${BROKER_PORT}`,
      `--wait-ready=http://127.0.0.1:${SIDECAR_HEALTH_PORT}/readyz`,
    ],
    // Under Never one failed init container ends the pod for good, so there the gate goes on waiting instead of failing.
    env: [{ name: 'POD2IAM_RESTART_POLICY', value: restartPolicy(pod) }],
    resources,
    securityContext: options.redirect === 'nft' ? NET_ADMIN_ONLY : UNPRIVILEGED,
    terminationMessagePolicy: 'FallbackToLogsOnError',
    volumeMounts: MOUNTS[GATE_CONTAINER],
  }
}

function restartPolicy({ spec }: Pod): string {
  return spec.restartPolicy === 'Never' || spec.restartPolicy === 'OnFailure' ? spec.restartPolicy : 'Always'
}
