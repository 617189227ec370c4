import { isIP } from 'node:net'
import {
  BROKER_ADDRESSES,
  BROKER_HEALTH_PORT,
  BROKER_PORT,
  STATE_DIR,
  TOKEN_AUDIENCE,
} from '../../common/addresses.ts'
import { credentialSources, webIdentityAudience } from '../../common/credential-source.ts'
import { KEYS } from '../../common/keys.ts'
import { LOG_LEVELS } from '../../common/log.ts'
import { parseBaseRoleArn, parseRoleArn } from '../../common/role.ts'
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
} from '../../common/settings.ts'
import { clusterArn, clusterNameOf, extraSessionTags } from './authorize/session-tags.ts'
import { sourceIdentityTemplate } from './authorize/source-identity.ts'
import { whyNotAllowable } from './instance/metadata.ts'

/** Every setting of the broker. */
export const BROKER_SETTINGS = {
  nodeName: {
    ...text(undefined, 'name of the node this broker serves'),
    parse: (name: string) =>
      /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(name) ? name : invalid('must be the name of a node'),
  },
  kubeconfig: optional('kubeconfig file; in-cluster access where absent'),
  listen: list(BROKER_ADDRESSES, 'node-local addresses to listen on', (entry) => {
    const address = entry.replace(/^\[(.*)\]$/, '$1')
    return isIP(address) ? address : invalid(`has ${JSON.stringify(entry)}, which is not an IP address`)
  }),
  port: port(BROKER_PORT, 'port on these addresses'),
  healthPort: port(BROKER_HEALTH_PORT, 'port of /livez, /readyz and /metrics'),
  audience: text(TOKEN_AUDIENCE, 'audience of the pods’ projected tokens'),
  issuer: optional('issuer of the pods’ projected tokens; discovered where absent'),
  imdsEndpoint: optionally('URL of the node’s metadata service', (url) =>
    /^http:\/\/[^/]+\/?$/.test(url) ? url : invalid('must be a URL such as http://169.254.169.254'),
  ),
  region: optional('AWS Region; else AWS_REGION, else the node’s'),
  baseRoleArn: optionally('ARN prefix of bare role names; discovered where absent', (arn) => {
    const parsed = parseBaseRoleArn(arn)
    return parsed.ok ? parsed.base : invalid(`is not usable: ${parsed.detail}`)
  }),
  defaultRole: optional('role of pods without annotation in namespaces that opted in with "all"'),
  roleKey: text(KEYS.role, 'pod annotation that names the role'),
  serviceAccountRoles: flag(
    false,
    'roles may come from service accounts, and these may narrow what their namespaces allow',
  ),
  namespaceRestrictions: flag(true, 'roles must be allowed by the namespace'),
  namespaceRestrictionFormat: oneOf(
    ['glob', 'regexp'],
    'glob',
    'how entries of the allowed-roles annotation are read',
  ),
  permittedRoles: list([], 'globs on role ARNs that limit every namespace'),
  sessionDuration: whole(3600, [900, 43_200], 'seconds a session lasts'),
  sessionScope: oneOf(['pod', 'role'], 'pod', 'whether a session is one pod’s or shared by a role’s pods'),
  sessionTags: flag(false, 'pass session tags as EKS Pod Identity does'),
  clusterName: optional('value of the session tag eks-cluster-name; else the name in --cluster-arn'),
  clusterArn,
  extraSessionTags,
  sourceIdentity: sourceIdentityTemplate,
  assumeRoleArn: optionally('role the broker assumes first (stable hop)', (arn) => {
    const parsed = parseRoleArn(arn)
    return parsed.ok ? arn : invalid(`is not usable: ${parsed.detail}`)
  }),
  credentialSources,
  webIdentityAudience,
  webIdentityFurtherAudiences: list(
    [],
    'further audiences of the second token that are accepted, for pods that were created with another one',
    webIdentityAudience.parse,
  ),
  stsQps: whole(20, [1, 1000], 'most STS calls per second'),
  stsConcurrency: whole(10, [1, 100], 'most STS calls at once'),
  metadataAllow: list([], 'further metadata paths to serve, such as tags/instance/', (prefix) => {
    const why = whyNotAllowable(prefix)
    return why ? invalid(`has ${JSON.stringify(prefix)}, which ${why}`) : prefix
  }),
  requireFirewall: flag(true, 'give no credentials while the firewall’s rules are not verified'),
  stateDir: text(STATE_DIR, 'directory shared with the firewall'),
  hostPodsDir: optional('directory for the list of pods on the host network; not written where absent'),
  hostNetworkAllowed: list(
    [],
    'pods on the host network that may use the node’s role, as globs on namespace/name',
    (glob) =>
      /^[a-z0-9*.-]+\/[a-z0-9*.-]+$/.test(glob)
        ? glob
        : invalid(`has ${JSON.stringify(glob)}, which is not namespace/name`),
  ),
  logLevel: oneOf(LOG_LEVELS, 'info', 'least level of log lines'),
} satisfies Record<string, Setting<unknown>>

export type BrokerSettings = Settings<typeof BROKER_SETTINGS>

/** Problems of combined settings, as messages for the operator. */
export function conflicts(settings: BrokerSettings): string[] {
  const found: string[] = []
  const usesNodeRole = settings.credentialSources.includes('node-role')
  if (settings.credentialSources.includes('web-identity')) found.push(...webIdentityConflicts(settings))
  if (settings.hostNetworkAllowed.length > 0 && settings.hostPodsDir === undefined)
    found.push('--host-network-allowed has no effect without --host-pods-dir.')
  if (settings.listen.length === 0) found.push('--listen must name at least one address.')
  found.push(...markConflicts(settings))
  if (settings.assumeRoleArn !== undefined && settings.sessionDuration > 3600 && usesNodeRole)
    found.push(
      '--session-duration must be at most 3600 with --assume-role-arn: AWS limits chained sessions to an hour.',
    )
  return found
}

/** The same for web identity. */
function webIdentityConflicts(settings: BrokerSettings): string[] {
  const accepted = [
    ['--web-identity-audience', [settings.webIdentityAudience]],
    ['--web-identity-further-audiences', settings.webIdentityFurtherAudiences],
  ] as const
  const naming = (audience: string | undefined) =>
    accepted.flatMap(([name, audiences]) => (audiences.some((one) => one === audience) ? [name] : []))
  return [
    ...(settings.sessionScope === 'role'
      ? [
          '--session-scope=role needs --credential-sources=node-role: a session by web identity is that of one service account.',
        ]
      : []),
    ...naming(settings.audience).map(
      (name) => `${name} must not be that of --audience: the one token would do in the place of the other.`,
    ),
    ...naming(settings.issuer).map(
      (name) =>
        `${name} must not be that of --issuer, by which the API server knows tokens for itself: choose one that only AWS knows, such as sts.amazonaws.com.`,
    ),
  ]
}

/** The same for what sessions are marked with: tags and source identities. */
function markConflicts(settings: BrokerSettings): string[] {
  const { clusterName, clusterArn, sessionTags, extraSessionTags, sourceIdentity } = settings
  const ofOnePod = [
    ...(sessionTags ? ['--session-tags=true'] : []),
    ...(sourceIdentity === undefined ? [] : ['--source-identity']),
  ]
  const all = [...ofOnePod, ...(extraSessionTags.length > 0 ? ['--extra-session-tags'] : [])]
  const idle = [
    ...(clusterName === undefined ? [] : ['--cluster-name']),
    ...(clusterArn === undefined ? [] : ['--cluster-arn']),
  ]
  const named = clusterArn === undefined ? undefined : clusterNameOf(clusterArn)
  return [
    ...(settings.credentialSources[0] === 'web-identity' ? all : []).map(
      (name) =>
        `${name} needs node-role as the first of --credential-sources: AssumeRoleWithWebIdentity has neither session tags nor a source identity of ours.`,
    ),
    ...(settings.sessionScope === 'role' ? ofOnePod : []).map(
      (name) =>
        `${name} needs --session-scope=pod: a session that pods share cannot say which of them it is for.`,
    ),
    ...(sessionTags ? [] : idle).map((name) => `${name} has no effect without --session-tags=true.`),
    ...(named !== undefined && clusterName !== undefined && clusterName !== named
      ? [`--cluster-name must be ${named}, as in --cluster-arn, or be left out.`]
      : []),
  ]
}

/** The settings that decide what a pod may have. */
export function entitlementSettings(settings: BrokerSettings) {
  const { defaultRole, sessionScope, nodeName, requireFirewall, credentialSources } = settings
  const { sessionTags, clusterName, clusterArn, extraSessionTags, sourceIdentity } = settings
  const { serviceAccountRoles } = settings
  return {
    policy: {
      restrictions: settings.namespaceRestrictions,
      format: settings.namespaceRestrictionFormat,
      permittedRoles: settings.permittedRoles,
    },
    durationSeconds: settings.sessionDuration,
    ...{ defaultRole, sessionScope, nodeName, requireFirewall, credentialSources, serviceAccountRoles },
    ...{ sessionTags, clusterName, clusterArn, extraSessionTags, sourceIdentity },
  }
}
