/** Our volumes, and where our containers and those of the pod mount them. */
import {
  CONTAINER_TOKEN_FILE,
  STATE_DIR,
  TOKEN_AUDIENCE,
  TOKEN_FILE,
  WEB_IDENTITY_TOKEN_FILE,
} from '../../common/addresses.ts'
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
import { blank, type JsonObject } from '../json.ts'
import type { PodOptions } from '../pod/options.ts'

const TOKEN_DIR = TOKEN_FILE.slice(0, TOKEN_FILE.lastIndexOf('/'))
const TOKEN_NAME = TOKEN_FILE.slice(TOKEN_DIR.length + 1)

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

/** Where an application reads that secret. */
export const APP_MOUNT = { ...CONTAINER_TOKEN_MOUNT, readOnly: true }

/** Whether a mount is the one from which an application reads the secret of the container credentials. */
export const isAppMount = (mount: JsonObject): boolean =>
  Object.entries(APP_MOUNT).every(([key, value]) => mount[key] === value) &&
  Object.keys(mount).every((key) => key in APP_MOUNT || blank(mount[key]))

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
