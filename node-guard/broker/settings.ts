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
  list,
  oneOf,
  optional,
  port,
  type Setting,
  SettingError,
  type Settings,
  text,
  whole,
} from '../../common/settings.ts'
import { whyNotAllowable } from './instance/metadata.ts'

/** Every setting of the broker. */
export const BROKER_SETTINGS = {
  nodeName: checked(text(undefined, 'name of the node this broker serves'), (name) =>
    /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(name) ? name : wrong('must be the name of a node'),
  ),
  kubeconfig: optional('kubeconfig file; in-cluster access where absent'),
  listen: list(BROKER_ADDRESSES, 'node-local addresses to listen on', (entry) => {
    const address = entry.replace(/^\[(.*)\]$/, '$1')
    return isIP(address) ? address : wrong(`has ${JSON.stringify(entry)}, which is not an IP address`)
  }),
  port: port(BROKER_PORT, 'port on these addresses'),
  healthPort: port(BROKER_HEALTH_PORT, 'port of /livez, /readyz and /metrics'),
  audience: text(TOKEN_AUDIENCE, 'audience of the pods’ projected tokens'),
  issuer: optional('issuer of the pods’ projected tokens; discovered where absent'),
  imdsEndpoint: checked(optional('URL of the node’s metadata service'), (url) =>
    url === undefined || /^http:\/\/[^/]+\/?$/.test(url)
      ? url
      : wrong('must be a URL such as http://169.254.169.254'),
  ),
  region: optional('AWS Region; else AWS_REGION, else the node’s'),
  baseRoleArn: checked(optional('ARN prefix of bare role names; discovered where absent'), (arn) => {
    if (arn === undefined) return undefined
    const parsed = parseBaseRoleArn(arn)
    return parsed.ok ? parsed.base : wrong(`is not usable: ${parsed.detail}`)
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
  clusterName: optional('value of the session tag eks-cluster-name'),
  assumeRoleArn: checked(optional('role the broker assumes first (stable hop)'), (arn) => {
    if (arn === undefined) return undefined
    const parsed = parseRoleArn(arn)
    return parsed.ok ? arn : wrong(`is not usable: ${parsed.detail}`)
  }),
  credentialSources,
  webIdentityAudience,
  stsQps: whole(20, [1, 1000], 'most STS calls per second'),
  stsConcurrency: whole(10, [1, 100], 'most STS calls at once'),
  metadataAllow: list([], 'further metadata paths to serve, such as tags/instance/', (prefix) => {
    const why = whyNotAllowable(prefix)
    return why ? wrong(`has ${JSON.stringify(prefix)}, which ${why}`) : prefix
  }),
  requireFirewall: flag(true, 'give no credentials while the firewall’s rules are not verified'),
  stateDir: text(STATE_DIR, 'directory shared with the firewall'),
  logLevel: oneOf(LOG_LEVELS, 'info', 'least level of log lines'),
} satisfies Record<string, Setting<unknown>>

export type BrokerSettings = Settings<typeof BROKER_SETTINGS>

/** What settings say only together: sentences for the operator. */
export function conflicts(settings: BrokerSettings): string[] {
  const found: string[] = []
  const usesNodeRole = settings.credentialSources.includes('node-role')
  if (settings.credentialSources.includes('web-identity')) {
    if (settings.sessionScope === 'role')
      found.push(
        '--session-scope=role needs --credential-sources=node-role: a session by web identity is that of one service account.',
      )
    if (settings.webIdentityAudience === settings.audience)
      found.push(
        '--web-identity-audience must not be that of --audience: the one token would do in the place of the other.',
      )
    if (settings.sessionTags && settings.credentialSources[0] === 'web-identity')
      found.push(
        '--session-tags=true needs node-role as the first of --credential-sources: AssumeRoleWithWebIdentity has no session tags of ours.',
      )
  }
  if (settings.listen.length === 0) found.push('--listen must name at least one address.')
  if (settings.sessionScope === 'role' && settings.sessionTags)
    found.push(
      '--session-tags=true needs --session-scope=pod: a session shared by pods cannot carry one pod’s tags.',
    )
  if (settings.clusterName !== undefined && !settings.sessionTags)
    found.push('--cluster-name has no effect without --session-tags=true.')
  if (settings.assumeRoleArn !== undefined && settings.sessionDuration > 3600 && usesNodeRole)
    found.push(
      '--session-duration must be at most 3600 with --assume-role-arn: AWS limits chained sessions to an hour.',
    )
  return found
}

/** A setting whose value is checked, or rewritten, after its text was read. */
function checked<T>(setting: Setting<T>, check: (value: T) => T): Setting<T> {
  return { ...setting, parse: (value) => check(setting.parse(value)) }
}

function wrong(message: string): never {
  throw new SettingError(message)
}

/** The settings that decide what a pod may have. */
export function entitlementSettings(settings: BrokerSettings) {
  const { defaultRole, sessionScope, sessionTags, clusterName, nodeName, requireFirewall } = settings
  const { credentialSources, serviceAccountRoles } = settings
  return {
    policy: {
      restrictions: settings.namespaceRestrictions,
      format: settings.namespaceRestrictionFormat,
      permittedRoles: settings.permittedRoles,
    },
    durationSeconds: settings.sessionDuration,
    ...{ defaultRole, sessionScope, sessionTags, clusterName, nodeName, requireFirewall },
    ...{ credentialSources, serviceAccountRoles },
  }
}
