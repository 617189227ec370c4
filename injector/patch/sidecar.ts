import {
  BROKER_ADDRESSES,
  BROKER_PORT,
  CONTAINER_TOKEN_FILE,
  hostPort,
  SIDECAR_HEALTH_PORT,
  SIDECAR_PORT,
  STARTED_FILE,
  STATE_DIR,
  TOKEN_AUDIENCE,
  TOKEN_FILE,
  WAIT_STARTED,
  WEB_IDENTITY_TOKEN_FILE,
} from '../../common/addresses.ts'
import { CREDENTIAL_SOURCE_ENV } from '../../common/credential-source.ts'
import { identityEnv, type PodIdentity } from '../../common/identity.ts'
import {
  CONTAINER_TOKEN_VOLUME,
  GATE_CONTAINER,
  NO_API_VOLUME,
  SIDECAR_CONTAINER,
  STATE_VOLUME,
  TOKEN_VOLUME,
  WEB_IDENTITY_VOLUME,
} from '../../common/keys.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import type { JsonObject } from '../json.ts'
import type { PodOptions } from '../pod/options.ts'
import type { Container } from '../pod/pod.ts'
import type { Resources } from '../pod/resources.ts'
import type { Start } from '../pod/stages.ts'

const TOKEN_DIR = TOKEN_FILE.slice(0, TOKEN_FILE.lastIndexOf('/'))
const TOKEN_NAME = TOKEN_FILE.slice(TOKEN_DIR.length + 1)
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
 * An empty directory where the ServiceAccount admission plugin would mount a token for the API server. The plugin leaves a container
 * alone that has a mount at this path, and gives every other one a token, including those that webhooks add.
 */
const NO_API_ACCESS = {
  name: NO_API_VOLUME,
  mountPath: '/var/run/secrets/kubernetes.io/serviceaccount',
  readOnly: true,
} as const

/** Where the second token is, in pods with the credential source `web-identity`. */
export const WEB_IDENTITY_MOUNT = {
  name: WEB_IDENTITY_VOLUME,
  mountPath: WEB_IDENTITY_TOKEN_FILE.slice(0, WEB_IDENTITY_TOKEN_FILE.lastIndexOf('/')),
  readOnly: true,
} as const

/** Where the sidecar writes the secret of the container credentials, in pods that have these; other containers mount it read-only. */
export const CONTAINER_TOKEN_MOUNT = {
  name: CONTAINER_TOKEN_VOLUME,
  mountPath: CONTAINER_TOKEN_FILE.slice(0, CONTAINER_TOKEN_FILE.lastIndexOf('/')),
} as const

type Mount = JsonObject & { readonly mountPath: string }
/** The mounts that our containers have in every pod. */
export const MOUNTS: {
  readonly [SIDECAR_CONTAINER]: readonly Mount[]
  readonly [GATE_CONTAINER]: readonly Mount[]
} = {
  [SIDECAR_CONTAINER]: [
    { name: TOKEN_VOLUME, mountPath: TOKEN_DIR, readOnly: true },
    { name: STATE_VOLUME, mountPath: STATE_DIR },
    NO_API_ACCESS,
  ],
  [GATE_CONTAINER]: [NO_API_ACCESS],
}

/**
 * For pods without a gate: the kubelet starts no later container before this hook has returned. The program waits for the file that a
 * ready sidecar creates; it is a shell script and not a second Node.js process.
 */
export const START_HOOK = { postStart: { exec: { command: [WAIT_STARTED] } } } as const

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

/** Variable of the sidecar in pods with container credentials. */
export const CONTAINER_TOKEN_FILE_ENV = 'POD2IAM_CONTAINER_TOKEN_FILE'

/** The source is frozen as the identity is: the broker goes by it. */
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

const IN_MEMORY = { medium: 'Memory', sizeLimit: '1Mi' } as const

/**
 * Our volumes, which only our containers mount, but for the secret of the container credentials. Our own projected token also works with `automountServiceAccountToken: false`. It has no
 * `defaultMode`, because the kubelet chooses owner and mode by the pod's fsGroup and users (kubernetes#82573) and 0400 would make it
 * unreadable. The emptyDirs are in memory, so that the cluster-autoscaler does not treat them as local storage, which keeps it
 * from removing a node.
 */
export function ourVolumes(
  { tokenExpirationSeconds: expirationSeconds, webIdentityAudience }: InjectionSettings,
  { credentialSource, containerCredentials }: Pick<PodOptions, 'credentialSource' | 'containerCredentials'>,
) {
  const serviceAccountToken = { audience: TOKEN_AUDIENCE, expirationSeconds, path: TOKEN_NAME }
  const webIdentity = { audience: webIdentityAudience, expirationSeconds, path: TOKEN_NAME }
  return [
    { name: TOKEN_VOLUME, projected: { sources: [{ serviceAccountToken }] } },
    { name: STATE_VOLUME, emptyDir: IN_MEMORY },
    { name: NO_API_VOLUME, emptyDir: IN_MEMORY },
    ...(credentialSource === 'web-identity'
      ? [{ name: WEB_IDENTITY_VOLUME, projected: { sources: [{ serviceAccountToken: webIdentity }] } }]
      : []),
    ...(containerCredentials ? [{ name: CONTAINER_TOKEN_VOLUME, emptyDir: IN_MEMORY }] : []),
  ]
}
