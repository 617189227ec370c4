/** Settings of the injector. */
import { credentialSources, webIdentityAudience } from '../common/credential-source.ts'
import { ACCOUNT_ROLE_KEY, KEYS } from '../common/keys.ts'
import { LOG_LEVELS } from '../common/log.ts'
import { type Failed, failed } from '../common/result.ts'
import { parseBaseRoleArn, resolveRole } from '../common/role.ts'
import {
  flag,
  invalid,
  list,
  oneOf,
  optional,
  optionally,
  port,
  type Setting,
  type Settings,
  text,
  whole,
} from '../common/settings.ts'
import {
  MAX_RESOURCES,
  parseResourceList,
  parseResources,
  type ResourceList,
  SIDECAR_RESOURCES,
} from './resources/resources.ts'
import { TOKEN_LIFETIME } from './token-lifetime.ts'

export const REDIRECT_MODES = ['nft', 'env'] as const
export type RedirectMode = (typeof REDIRECT_MODES)[number]
export const TOKEN_MODES = ['optional', 'required'] as const
export const GATE_MODES = ['on', 'off'] as const
export const CONTAINER_MODES = ['on', 'off'] as const
const START_MODES = ['auto', 'two-stage'] as const

/** The settings on which decisions depend, which are also all that is read of another replica's command line. */
export const INJECTION_SPEC = {
  sidecarImage: text(undefined, 'image of the sidecar'),
  nodeGuardImage: text(undefined, "image of the node guard, which is also the gate's"),
  trustedRegistries: list(
    [],
    'registries, with or without a path, from which an image swapper may pull these two images',
    trustedRegistry,
  ),
  imagePullPolicy: oneOf(['IfNotPresent', 'Always', 'Never'], 'IfNotPresent', 'of the containers added'),
  sidecarResources: text(
    '{}',
    'resources of the sidecar and the gate, JSON; what it leaves out keeps its default',
  ),
  sidecarResourcesMax: checked<ResourceList>(
    (value) => parseResourceList(value) ?? invalid('must be JSON such as {"cpu":"1","memory":"256Mi"}'),
    MAX_RESOURCES,
    JSON.stringify(MAX_RESOURCES),
    `the most that annotation ${KEYS.sidecarResources} may ask for`,
  ),
  redirect: oneOf(REDIRECT_MODES, 'nft', 'how apps reach the sidecar unless annotated'),
  start: oneOf(
    START_MODES,
    'auto',
    "auto: in redirect mode env the sidecar's start hook holds the app back, in nft a gate does; two-stage: always a gate",
  ),
  gateProof: oneOf(['enforce', 'report'], 'enforce', 'report lets pods start unproven: audit mode only'),
  gateAcceptDrop: flag(false, 'a timeout proves the block, too (dataplanes that drop silently)'),
  imdsTokens: oneOf(TOKEN_MODES, 'optional', 'required means that no pod may allow IMDSv1'),
  containerCredentials: oneOf(
    CONTAINER_MODES,
    'off',
    'whether pods in redirect mode env also get container credentials, for SDKs that do not ask the metadata endpoint, unless annotated',
  ),
  startupGate: oneOf(GATE_MODES, 'on', 'off lets apps start before credentials exist unless annotated'),
  hostNetworkAnnotated: oneOf(['deny', 'warn'], 'deny', 'for annotated pods on the host network'),
  sidecarLogLevel: oneOf(LOG_LEVELS, 'info', 'log level of sidecars unless annotated'),
  tokenExpirationSeconds: whole(
    TOKEN_LIFETIME.usual,
    [TOKEN_LIFETIME.least, TOKEN_LIFETIME.most],
    "seconds the sidecar's projected token lives; the API server may make it less",
  ),
  credentialSources,
  webIdentityAudience,
  sessionTags: flag(
    false,
    'whether the broker passes session tags; web identity does not support them, so such pods are then refused',
  ),
  sourceIdentity: optional(
    'the broker’s template of source identities, if it sets them; web identity does not support them, so such pods are then refused',
  ),
  baseRoleArn: optionally('prefix of roles given by name, e.g. arn:aws:iam::111111111111:role/', baseRoleArn),
  defaultRole: optional('role of pods in namespaces labelled all that have no other'),
  roleKey: checked(qualifiedName, KEYS.role, KEYS.role, 'key of the role annotation on pods'),
  serviceAccountRoles: flag(
    false,
    'pods without a role of their own get the one that their service account names',
  ),
  serviceAccountRoleKey: checked(
    qualifiedName,
    ACCOUNT_ROLE_KEY,
    ACCOUNT_ROLE_KEY,
    'key of the annotation by which a service account names it',
  ),
  namespaceRestrictions: flag(true, 'namespaces must allow the roles of their pods'),
  namespaceRestrictionFormat: oneOf(['glob', 'regexp'], 'glob', `how ${KEYS.allowedRoles} is read`),
  permittedRoles: list([], 'ceiling: globs on the full ARN of every role'),
}

export const SPEC = {
  port: port(8443, 'port of /mutate and /validate, TLS'),
  healthPort: port(8080, 'port of /livez, /readyz and /metrics'),
  drainSeconds: whole(
    0,
    [0, 60],
    'seconds to go on accepting connections after SIGTERM, up to three times as long while new ones come; 0: end within a second',
  ),
  kubeconfig: optional('kubeconfig with the way to the API server; without it, in-cluster'),
  logLevel: oneOf(LOG_LEVELS, 'info', 'log level of the injector'),
  ...INJECTION_SPEC,
  untouchedNamespaces: list([], 'namespaces for which no webhook is called; Events on their pods say so'),
  tlsCertFile: optional('PEM certificate chain of the webhook; re-read when it changes'),
  tlsKeyFile: optional('PEM private key of the webhook; re-read when it changes'),
  caSecret: optionally('namespace/name of the Secret of the built-in certificate authority', secretPlace),
  serviceName: optional("the injector's Service, in that Secret's namespace; certificates are issued for it"),
  webhookConfiguration: optional('name of the webhook configurations whose caBundle is kept correct'),
  startupTaint: optionally(
    'key of the taint that is removed from a node when its guard is ready (docs/startup-taint.md)',
    qualifiedName,
  ),
  podName: optional("name of this replica's pod, to recognise itself among the injector's replicas"),
  podNamespace: optional("namespace of the injector's pods, for a rolling upgrade without refusals"),
  podSelector: optional("label selector of the injector's pods, all replicas of all releases"),
  nodeGuardNamespace: text('pod2iam-system', "namespace of the node guard's pods, for the startup taint"),
  nodeGuardSelector: text(
    'app.kubernetes.io/name=pod2iam,app.kubernetes.io/component=node-guard',
    "label selector of the node guard's pods, for the startup taint",
  ),
}

export type InjectorSettings = Settings<typeof SPEC>

type SecretPlace = { readonly namespace: string; readonly name: string }

/** Where the serving certificate comes from. */
export type CertificateOrigin =
  | { readonly kind: 'files'; readonly cert: string; readonly key: string }
  | {
      readonly kind: 'authority'
      readonly secret: SecretPlace
      readonly service: string
      readonly webhookConfiguration: string
    }

/** The one origin whose settings are complete, or one sentence about what is missing or contradicts it. */
export function certificateOrigin(
  settings: InjectorSettings,
): { readonly ok: true; readonly origin: CertificateOrigin } | Failed {
  const { tlsCertFile: cert, tlsKeyFile: key, caSecret, serviceName, webhookConfiguration } = settings
  const files = cert !== undefined || key !== undefined
  const authority = [caSecret, serviceName, webhookConfiguration].some((value) => value !== undefined)
  if (files && authority)
    return failed(
      'set either --tls-cert-file and --tls-key-file or --ca-secret, --service-name and --webhook-configuration, not both.',
    )
  if (cert !== undefined && key !== undefined) return { ok: true, origin: { kind: 'files', cert, key } }
  if (files) return failed('set both --tls-cert-file and --tls-key-file.')
  if (caSecret !== undefined && serviceName !== undefined && webhookConfiguration !== undefined)
    return {
      ok: true,
      origin: { kind: 'authority', secret: caSecret, service: serviceName, webhookConfiguration },
    }
  return failed(
    'set --tls-cert-file and --tls-key-file, or, for the built-in certificate authority, ' +
      '--ca-secret, --service-name and --webhook-configuration.',
  )
}

/** Mistakes that the check of each single setting does not find, one sentence each. */
export function settingMistakes(settings: InjectorSettings): string[] {
  const mistakes: string[] = []
  const origin = certificateOrigin(settings)
  if (!origin.ok) mistakes.push(origin.detail)
  const { podName, podNamespace, podSelector } = settings
  const ofPods = [podName, podNamespace, podSelector].filter((value) => value !== undefined)
  if (ofPods.length !== 0 && ofPods.length !== 3)
    mistakes.push('set --pod-name, --pod-namespace and --pod-selector, all of them or none.')
  const resources = parseResources(settings.sidecarResources, SIDECAR_RESOURCES, settings.sidecarResourcesMax)
  if (!resources.ok) mistakes.push(`--sidecar-resources ${resources.detail}.`)
  if (settings.defaultRole !== undefined && settings.baseRoleArn !== undefined) {
    const role = resolveRole(settings.defaultRole, settings.baseRoleArn)
    if (!role.ok) mistakes.push(`--default-role: ${role.detail}.`)
  }
  return mistakes
}

function baseRoleArn(value: string): string {
  const result = parseBaseRoleArn(value)
  return result.ok ? result.base : invalid(`cannot be used: ${result.detail}`)
}

/** `registry.example.com:5000/mirror`, without scheme, tag or a slash at its end. */
function trustedRegistry(value: string): string {
  return /^[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?(?::\d{1,5})?(?:\/[a-z0-9]+(?:[-._]+[a-z0-9]+)*)*$/.test(value)
    ? value
    : invalid('must list registries such as mirror.example.com or mirror.example.com/ghcr')
}

function secretPlace(value: string): SecretPlace {
  const [, namespace, name] = /^([a-z0-9][-a-z0-9]{0,62})\/([a-z0-9][-a-z0-9.]{0,252})$/.exec(value) ?? []
  if (namespace === undefined || name === undefined) return invalid('must be namespace/name of a Secret')
  return { namespace, name }
}

/** A qualified name, as the API server demands of keys of annotations and taints. */
function qualifiedName(value: string): string {
  return /^(?:[a-z0-9](?:[-a-z0-9.]{0,250}[a-z0-9])?\/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/.test(
    value,
  )
    ? value
    : invalid('must be a qualified name such as iam.amazonaws.com/role')
}

function checked<T>(
  parse: (value: string) => T,
  fallback: T,
  shownDefault: string,
  help: string,
): Setting<T> {
  return { parse, fallback: () => fallback, shownDefault, help }
}
