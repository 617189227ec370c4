/** Addresses and ports that are contracts between the components. */

/** EC2's instance metadata service. */
export const METADATA_ADDRESSES = ['169.254.169.254', 'fd00:ec2::254'] as const

/** Node-local addresses of the broker, on the link {@link BROKER_LINK}; chosen beside EKS Pod Identity's 169.254.170.23. */
export const BROKER_ADDRESSES = ['169.254.170.24', 'fd00:70d2:1a::24'] as const
export const BROKER_LINK = 'pod2iam0'

export const SIDECAR_PORT = 9169
export const SIDECAR_HEALTH_PORT = 9170
export const BROKER_PORT = 9171
export const BROKER_HEALTH_PORT = 9172
export const FIREWALL_HEALTH_PORT = 9173

/** Audience of the projected service-account token with which a sidecar proves who it is. */
export const TOKEN_AUDIENCE = 'pod2iam'
export const TOKEN_FILE = '/var/run/secrets/pod2iam/token'
/** The second token, of pods with the credential source `web-identity`. */
export const WEB_IDENTITY_TOKEN_FILE = '/var/run/secrets/pod2iam-web-identity/token'

/** The secret of the container credentials, which a sidecar of redirect mode `env` writes for the pod's own containers. */
export const CONTAINER_TOKEN_FILE = '/var/run/secrets/pod2iam-container/token'
/** Where a sidecar gives container credentials. */
export const CONTAINER_CREDENTIALS_PATH = '/container-credentials'

/** Directory shared by firewall and broker; in the sidecar, its own memory-backed directory. */
export const STATE_DIR = '/run/pod2iam'

/** Made by a sidecar that is ready, where its start hook waits for that: one tmpfs per pod sandbox, gone with it. */
export const STARTED_FILE = '/dev/shm/pod2iam-started'
/** The program of that hook, in the sidecar's image. */
export const WAIT_STARTED = '/pod2iam/wait-started'

/** `host:port`, with brackets around an IPv6 address. */
export function hostPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}
