/** The checks of the Pod Security Standards with the texts of pod-security-admission/policy (policy version latest). */
import { type JsonObject, listAt, objectAt, stringAt } from '../objects/objects.ts'

type Violation = { readonly reason: string; readonly detail: string }
export type Check = {
  readonly id: string
  /** A baseline check that this restricted check replaces. */
  readonly overrides?: string
  run(spec: JsonObject, metadata: JsonObject): Violation | undefined
}

const quoted = (values: readonly string[]) => values.map((value) => `"${value}"`).join(', ')
const plural = (noun: string, names: readonly string[]) =>
  `${noun}${names.length === 1 ? '' : 's'} ${quoted(names)}`

/** All containers in the order in which messages name them. */
function containersOf(spec: JsonObject): { name: string; security: JsonObject; container: JsonObject }[] {
  return ['initContainers', 'containers', 'ephemeralContainers'].flatMap((list) =>
    listAt(spec, list).map((container) => ({
      name: stringAt(container, 'name') ?? '',
      security: objectAt(container, 'securityContext'),
      container,
    })),
  )
}

function namesWhere(
  spec: JsonObject,
  bad: (security: JsonObject, container: JsonObject) => boolean,
): string[] {
  return containersOf(spec)
    .filter(({ security, container }) => bad(security, container))
    .map(({ name }) => name)
}

const strings = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : [])
const added = (security: JsonObject) => strings(objectAt(security, 'capabilities').add)
const isWindows = (spec: JsonObject) => stringAt(spec, 'os', 'name') === 'windows'
const sorted = (values: Iterable<string>) => [...new Set(values)].sort()

const DEFAULT_CAPABILITIES = new Set(
  'AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT'.split(
    ' ',
  ),
)
const SAFE_SYSCTLS = new Set([
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_wmem',
])
const RESTRICTED_VOLUMES = new Set(
  'configMap csi downwardAPI emptyDir ephemeral persistentVolumeClaim projected secret'.split(' '),
)

function forbiddenCapabilities(spec: JsonObject, allowed: ReadonlySet<string>): string | undefined {
  const names = namesWhere(spec, (security) => added(security).some((capability) => !allowed.has(capability)))
  if (names.length === 0) return undefined
  const capabilities = containersOf(spec).flatMap(({ security }) =>
    added(security).filter((c) => !allowed.has(c)),
  )
  return `${plural('container', names)} must not include ${quoted(sorted(capabilities))} in securityContext.capabilities.add`
}

const ofDetail = (reason: string, detail: string | undefined): Violation | undefined =>
  detail === undefined ? undefined : { reason, detail }
const ofNames = (reason: string, names: readonly string[], text: string): Violation | undefined =>
  names.length === 0 ? undefined : { reason, detail: `${plural('container', names)} ${text}` }

function hostPorts(spec: JsonObject): Violation | undefined {
  const used = (container: JsonObject) =>
    listAt(container, 'ports').flatMap(({ hostPort }) =>
      typeof hostPort === 'number' && hostPort !== 0 ? [hostPort] : [],
    )
  const names = namesWhere(spec, (_, container) => used(container).length > 0)
  if (names.length === 0) return undefined
  const ports = [...new Set(containersOf(spec).flatMap(({ container }) => used(container)))].sort(
    (a, b) => a - b,
  )
  const verb = names.length === 1 ? 'uses' : 'use'
  return {
    reason: 'hostPort',
    detail: `${plural('container', names)} ${verb} ${ports.length === 1 ? 'hostPort' : 'hostPorts'} ${ports.join(', ')}`,
  }
}

/** Sorted by their ids. */
export const baselineChecks: readonly Check[] = [
  {
    id: 'capabilities_baseline',
    run: (spec) => ofDetail('non-default capabilities', forbiddenCapabilities(spec, DEFAULT_CAPABILITIES)),
  },
  {
    id: 'hostNamespaces',
    run: (spec) => {
      const set = ['hostNetwork', 'hostPID', 'hostIPC'].filter((field) => spec[field] === true)
      return set.length === 0
        ? undefined
        : { reason: 'host namespaces', detail: set.map((field) => `${field}=true`).join(', ') }
    },
  },
  {
    id: 'hostPathVolumes',
    run: (spec) => {
      const names = listAt(spec, 'volumes')
        .filter((volume) => volume.hostPath !== undefined)
        .map((volume) => stringAt(volume, 'name') ?? '')
      return names.length === 0 ? undefined : { reason: 'hostPath volumes', detail: plural('volume', names) }
    },
  },
  { id: 'hostPorts', run: hostPorts },
  {
    id: 'privileged',
    run: (spec) =>
      ofNames(
        'privileged',
        namesWhere(spec, (security) => security.privileged === true),
        'must not set securityContext.privileged=true',
      ),
  },
  {
    id: 'procMount',
    run: (spec) =>
      spec.hostUsers === false
        ? undefined
        : ofNames(
            'procMount',
            namesWhere(spec, ({ procMount }) => procMount !== undefined && procMount !== 'Default'),
            'must not set securityContext.procMount to "Unmasked"',
          ),
  },
  { id: 'seccompProfile_baseline', run: (spec) => seccompUnconfined(spec) },
  {
    id: 'sysctls',
    run: (spec) => {
      const names = listAt(spec, 'securityContext', 'sysctls')
        .map((sysctl) => stringAt(sysctl, 'name') ?? '')
        .filter((name) => !SAFE_SYSCTLS.has(name))
      return names.length === 0 ? undefined : { reason: 'forbidden sysctls', detail: names.join(', ') }
    },
  },
  {
    id: 'windowsHostProcess',
    run: (spec) =>
      ofNames(
        'hostProcess',
        namesWhere(spec, (security) => objectAt(security, 'windowsOptions').hostProcess === true),
        'must not set securityContext.windowsOptions.hostProcess=true',
      ),
  },
]

const seccompType = (security: JsonObject) => stringAt(security, 'seccompProfile', 'type')
const SECCOMP_ALLOWED = ['RuntimeDefault', 'Localhost']

function seccompUnconfined(spec: JsonObject): Violation | undefined {
  const bad = (type: string | undefined) => type !== undefined && !SECCOMP_ALLOWED.includes(type)
  const names = namesWhere(spec, (security) => bad(seccompType(security)))
  const setters = [
    ...(bad(seccompType(objectAt(spec, 'securityContext'))) ? ['pod'] : []),
    ...(names.length > 0 ? [plural('container', names)] : []),
  ]
  if (setters.length === 0) return undefined
  return {
    reason: 'seccompProfile',
    detail: `${setters.join(' and ')} must not set securityContext.seccompProfile.type to "Unconfined"`,
  }
}

function seccompRestricted(spec: JsonObject): Violation | undefined {
  const explicit = seccompUnconfined(spec)
  if (explicit !== undefined || isWindows(spec)) return explicit
  if (seccompType(objectAt(spec, 'securityContext')) !== undefined) return undefined
  const names = namesWhere(spec, (security) => seccompType(security) === undefined)
  return ofDetail(
    'seccompProfile',
    names.length === 0
      ? undefined
      : `pod or ${plural('container', names)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"`,
  )
}

function capabilitiesRestricted(spec: JsonObject): Violation | undefined {
  if (isWindows(spec)) return undefined
  const missing = namesWhere(
    spec,
    (security) => !strings(objectAt(security, 'capabilities').drop).includes('ALL'),
  )
  const details = [
    ...(missing.length > 0
      ? [`${plural('container', missing)} must set securityContext.capabilities.drop=["ALL"]`]
      : []),
    forbiddenCapabilities(spec, new Set(['NET_BIND_SERVICE'])),
  ].filter((detail) => detail !== undefined)
  return details.length === 0
    ? undefined
    : { reason: 'unrestricted capabilities', detail: details.join('; ') }
}

function runAsNonRoot(spec: JsonObject): Violation | undefined {
  // User namespaces lift this (KEP-127).
  if (spec.hostUsers === false) return undefined
  const pod = objectAt(spec, 'securityContext').runAsNonRoot
  const bad = namesWhere(spec, (security) => security.runAsNonRoot === false)
  const unset = namesWhere(spec, (security) => security.runAsNonRoot === undefined)
  const setters = [...(pod === false ? ['pod'] : []), ...(bad.length > 0 ? [plural('container', bad)] : [])]
  if (setters.length > 0)
    return {
      reason: 'runAsNonRoot != true',
      detail: `${setters.join(' and ')} must not set securityContext.runAsNonRoot=false`,
    }
  if (pod === true || unset.length === 0) return undefined
  return {
    reason: 'runAsNonRoot != true',
    detail: `pod or ${plural('container', unset)} must set securityContext.runAsNonRoot=true`,
  }
}

function restrictedVolumes(spec: JsonObject): Violation | undefined {
  const bad = listAt(spec, 'volumes').flatMap((volume) => {
    const type = Object.keys(volume).find((key) => key !== 'name') ?? 'unknown'
    return RESTRICTED_VOLUMES.has(type) ? [] : [{ name: stringAt(volume, 'name') ?? '', type }]
  })
  if (bad.length === 0) return undefined
  const types = sorted(bad.map(({ type }) => type))
  const verb = bad.length === 1 ? 'uses' : 'use'
  const noun = `restricted volume type${types.length === 1 ? '' : 's'}`
  return {
    reason: 'restricted volume types',
    detail: `${plural(
      'volume',
      bad.map(({ name }) => name),
    )} ${verb} ${noun} ${quoted(types)}`,
  }
}

function runAsRoot(spec: JsonObject): Violation | undefined {
  if (spec.hostUsers === false) return undefined
  const names = namesWhere(spec, (security) => security.runAsUser === 0)
  const setters = [
    ...(objectAt(spec, 'securityContext').runAsUser === 0 ? ['pod'] : []),
    ...(names.length > 0 ? [plural('container', names)] : []),
  ]
  return setters.length === 0
    ? undefined
    : { reason: 'runAsUser=0', detail: `${setters.join(' and ')} must not set runAsUser=0` }
}

/** Sorted by their ids. */
export const restrictedChecks: readonly Check[] = [
  {
    id: 'allowPrivilegeEscalation',
    run: (spec) =>
      isWindows(spec)
        ? undefined
        : ofNames(
            'allowPrivilegeEscalation != false',
            namesWhere(spec, (security) => security.allowPrivilegeEscalation !== false),
            'must set securityContext.allowPrivilegeEscalation=false',
          ),
  },
  { id: 'capabilities_restricted', overrides: 'capabilities_baseline', run: capabilitiesRestricted },
  { id: 'restrictedVolumes', overrides: 'hostPathVolumes', run: restrictedVolumes },
  { id: 'runAsNonRoot', run: runAsNonRoot },
  { id: 'runAsUser', run: runAsRoot },
  { id: 'seccompProfile_restricted', overrides: 'seccompProfile_baseline', run: seccompRestricted },
]
