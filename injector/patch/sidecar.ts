import {
  BROKER_ADDRESSES,
  BROKER_PORT,
  CONTAINER_TOKEN_FILE,
  hostPort,
  SIDECAR_HEALTH_PORT,
  SIDECAR_PORT,
  STARTED_FILE,
  STATE_DIR,
  TOKEN_FILE,
  WEB_IDENTITY_TOKEN_FILE,
} from '../../common/addresses.ts'
import { CREDENTIAL_SOURCE_ENV } from '../../common/credential-source.ts'
import { identityEnv, type PodIdentity } from '../../common/identity.ts'
import { SIDECAR_CONTAINER } from '../../common/keys.ts'
import { START_HOOK } from '../form/container-form.ts'
import { CONTAINER_TOKEN_FILE_ENV } from '../form/environment.ts'
import { CONTAINER_TOKEN_MOUNT, MOUNTS, WEB_IDENTITY_MOUNT } from '../form/volumes.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import type { PodOptions } from '../pod/options.ts'
import type { Container } from '../pod/pod.ts'
import type { Start } from '../pod/stages.ts'
import type { Resources } from '../resources/resources.ts'

/** The distroless images' `nonroot`. */
const NONROOT = 65532

/**
 * Everything explicit: the pod's own `runAsUser`, `runAsNonRoot` or seccomp profile would otherwise be inherited
 * (istio#10358). `restricted` PodSecurity allows this container.
 */
export const UNPRIVILEGED = {
  runAsUser: NONROOT,
  runAsGroup: NONROOT,
  runAsNonRoot: true,
  privileged: false,
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
} as const

/**
 * The native sidecar (KEP-753). No probe: the gate behind it, or its own start hook, waits until it is ready, which starts the app a
 * second earlier than a startupProbe, and a readinessProbe would take apps out of service when the broker is away.
 */
export function sidecarContainer(
  identity: PodIdentity,
  options: PodOptions,
  resources: Resources,
  settings: InjectionSettings,
  start: Start,
): Container {
  const isAlone = start === 'one-stage'
  const byToken = options.credentialSource === 'web-identity'
  return {
    name: SIDECAR_CONTAINER,
    image: settings.sidecarImage,
    imagePullPolicy: settings.imagePullPolicy,
    restartPolicy: 'Always',
    env: [
      ...identityEnv(identity),
      ...sidecarEnv(options),
      ...(isAlone ? proofEnv(settings) : []),
      ...(byToken ? WEB_IDENTITY_ENV : []),
      ...(options.containerCredentials
        ? [{ name: CONTAINER_TOKEN_FILE_ENV, value: CONTAINER_TOKEN_FILE }]
        : []),
    ],
    ...(isAlone ? { lifecycle: START_HOOK } : {}),
    resources,
    securityContext: UNPRIVILEGED,
    terminationMessagePolicy: 'FallbackToLogsOnError',
    volumeMounts: [
      ...MOUNTS[SIDECAR_CONTAINER],
      ...(byToken ? [WEB_IDENTITY_MOUNT] : []),
      ...(options.containerCredentials ? [CONTAINER_TOKEN_MOUNT] : []),
    ],
  }
}

/** Written out even where they are defaults: otherwise a Service named `pod2iam-health` would set `POD2IAM_HEALTH_PORT`. */
function sidecarEnv(options: PodOptions) {
  return [
    {
      name: 'POD2IAM_BROKER_URL',
      value: BROKER_ADDRESSES.map((address) => `http://${hostPort(address, BROKER_PORT)}`).join(','),
    },
    { name: 'POD2IAM_TOKEN_FILE', value: TOKEN_FILE },
    { name: 'POD2IAM_LISTEN_PORT', value: String(SIDECAR_PORT) },
    { name: 'POD2IAM_HEALTH_PORT', value: String(SIDECAR_HEALTH_PORT) },
    { name: 'POD2IAM_IMDS_TOKENS', value: options.imdsTokens },
    { name: 'POD2IAM_SELF_TEST', value: options.redirect === 'nft' ? 'redirect' : 'off' },
    { name: 'POD2IAM_STATE_DIR', value: STATE_DIR },
    { name: 'POD2IAM_STARTUP_GATE', value: options.startupGate },
    { name: 'POD2IAM_LOG_LEVEL', value: options.logLevel },
  ]
}

/** The source is frozen like the identity, and the broker uses it from here. */
const WEB_IDENTITY_ENV = [
  { name: CREDENTIAL_SOURCE_ENV, value: 'web-identity' },
  { name: 'POD2IAM_WEB_IDENTITY_TOKEN_FILE', value: WEB_IDENTITY_TOKEN_FILE },
] as const

/** What a gate would get as arguments, and the file by which the sidecar lets the pod's own containers start. */
function proofEnv({ gateProof, gateAcceptDrop }: InjectionSettings) {
  return [
    { name: 'POD2IAM_PROOF', value: gateProof },
    { name: 'POD2IAM_STARTED_FILE', value: STARTED_FILE },
    ...(gateAcceptDrop ? [{ name: 'POD2IAM_ACCEPT_DROP', value: 'true' }] : []),
  ]
}
