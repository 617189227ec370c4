/**
 * Labels and annotations that are contracts: those of kube2iam and kiam keep their prefix
 * `iam.amazonaws.com/`, our own have `pod2iam.dev/`. No annotation can set an image, a command, the broker's address,
 * the audience or session tags.
 */
export const KEYS = {
  /** Namespace label: `enabled` (annotated pods) or `all` (every pod). */
  injection: 'pod2iam.dev/injection',
  /** Namespace: JSON array of globs or regexps (kube2iam). Service account: the same, which narrows the namespace's. */
  allowedRoles: 'iam.amazonaws.com/allowed-roles',
  /** Namespace: one anchored regexp on the full ARN (kiam). */
  permitted: 'iam.amazonaws.com/permitted',
  /** Namespace: role of pods without annotation where the label says `all`. */
  defaultRole: 'iam.amazonaws.com/default-role',
  /** Namespace: JSON array; when present, a pod's external id must be listed. */
  allowedExternalIds: 'pod2iam.dev/allowed-external-ids',
  /** Pod: role name, path/name or full ARN. Configurable (`--role-key`), this is the default. */
  role: 'iam.amazonaws.com/role',
  /** Pod: external id passed to STS. */
  externalId: 'iam.amazonaws.com/external-id',
  /** Pod: becomes `<namespace>.<value>` as role session name. */
  sessionName: 'iam.amazonaws.com/session-name',
  /** Pod: JSON array of the ARNs of managed policies that narrow its session. */
  sessionPolicyArns: 'iam.amazonaws.com/session-policy-arns',
  /** Namespace: `node-role` or `web-identity`, within the operator's `--credential-sources`. */
  credentialSource: 'pod2iam.dev/credential-source',
  /** Namespace label: `allowed` lets its pods on the host network use the node's role. */
  hostNetwork: 'pod2iam.dev/host-network',
  /** Namespace or pod: `nft` or `env`. */
  redirect: 'pod2iam.dev/redirect',
  /** Namespace or pod: `on` or `off`. */
  containerCredentials: 'pod2iam.dev/container-credentials',
  /** Pod: `optional` or `required`. */
  imdsTokens: 'pod2iam.dev/imds-tokens',
  /** Pod: `on` or `off`. */
  startupGate: 'pod2iam.dev/startup-gate',
  /** Pod: `"false"` (not injected) or `metadata` (only Region and placement). */
  inject: 'pod2iam.dev/inject',
  /** Pod: JSON resources of the sidecar, within the operator's bounds. */
  sidecarResources: 'pod2iam.dev/sidecar-resources',
  /** Pod: the sidecar's log level. */
  logLevel: 'pod2iam.dev/log-level',
  /** Pod, written by the injector for people; never an input. */
  status: 'pod2iam.dev/status',
  /** Pod label, written by the injector for selectors; never an input of a decision. */
  injected: 'pod2iam.dev/injected',
} as const

/** Annotation of a service account that names a role, unless configured (`--service-account-role-key`): IRSA's. */
export const ACCOUNT_ROLE_KEY = 'eks.amazonaws.com/role-arn'

/**
 * Annotation of the injector's own pods, written by the chart. Replicas with it judge containers that another replica added by their
 * form; replicas without it (release 0.1.0) demand exactly what they would add themselves.
 */
export const ADMISSION_FORMAT = 'pod2iam.dev/admission-format'

/** The only value of the namespace label {@link KEYS.hostNetwork} that has an effect. */
export const HOST_NETWORK_ALLOWED = 'allowed'

/** Values of the namespace label {@link KEYS.injection} that opt a namespace in. */
export type InjectionMode = 'enabled' | 'all'

/** How a namespace is opted in, or undefined when it is not. Takes the namespace's labels. */
export function injectionMode(
  labels: Readonly<Record<string, string>> | undefined,
): InjectionMode | undefined {
  const value = labels?.[KEYS.injection]
  return value === 'enabled' || value === 'all' ? value : undefined
}

/** Names of the containers and the volumes the injector adds; reserved. */
export const SIDECAR_CONTAINER = 'pod2iam-sidecar'
export const GATE_CONTAINER = 'pod2iam-gate'
export const TOKEN_VOLUME = 'pod2iam-token'
export const WEB_IDENTITY_VOLUME = 'pod2iam-web-identity'
export const CONTAINER_TOKEN_VOLUME = 'pod2iam-container-token'
export const STATE_VOLUME = 'pod2iam-state'
export const NO_API_VOLUME = 'pod2iam-no-api'
