/** Settings of the sidecar. */
import {
  BROKER_ADDRESSES,
  BROKER_PORT,
  hostPort,
  SIDECAR_HEALTH_PORT,
  SIDECAR_PORT,
  STATE_DIR,
  TOKEN_FILE,
} from '../common/addresses.ts'
import { IDENTITY_ENV } from '../common/identity.ts'
import { LOG_LEVELS } from '../common/log.ts'
import { flag, list, oneOf, SettingError, type Settings, text, whole } from '../common/settings.ts'

/** 0 lets the system choose, for tests; the `listening` log line says which. */
const PORTS = [0, 65535] as const

export const SPEC = {
  brokerUrl: list(
    BROKER_ADDRESSES.map((address) => `http://${hostPort(address, BROKER_PORT)}`),
    'addresses of the broker, in order; the first that answers counts',
    brokerUrl,
  ),
  tokenFile: text(TOKEN_FILE, 'projected service-account token, read again for every request'),
  webIdentityTokenFile: text(
    '',
    'second projected token, with which the broker assumes the role; not set if the node’s role assumes it',
  ),
  listenPort: whole(SIDECAR_PORT, PORTS, 'port of the metadata service, on 127.0.0.1 and ::1 only'),
  healthPort: whole(SIDECAR_HEALTH_PORT, PORTS, 'port of /livez, /readyz and /metrics, on all addresses'),
  imdsTokens: oneOf(
    ['optional', 'required'],
    'optional',
    'whether IMDSv1 is allowed or a session token needed',
  ),
  selfTest: oneOf(
    ['redirect', 'off'],
    'redirect',
    'prove that 169.254.169.254 leads here before being ready',
  ),
  stateDir: text(STATE_DIR, 'directory of the key that lets session tokens outlive a restart'),
  containerTokenFile: text(
    '',
    'secret that the pod’s own containers need for container credentials, written here; none where there are none',
  ),
  startupGate: oneOf(['on', 'off'], 'on', 'off: ready without credentials'),
  proof: oneOf(
    ['off', 'enforce', 'report'],
    'off',
    'prove that the real metadata endpoint is refused before being ready; off if the gate does it',
  ),
  acceptDrop: flag(false, 'three proofs in a row without an answer count as refused (Cilium drops silently)'),
  startedFile: text(
    '',
    "made when ready; the container's postStart hook waits for it, and this gives up where it takes too long",
  ),
  logLevel: oneOf(LOG_LEVELS, 'info', 'least level logged'),
}

export type SidecarSettings = Settings<typeof SPEC>

function brokerUrl(entry: string): string {
  const url = URL.parse(entry)
  const plain = url?.protocol === 'http:' && url.pathname === '/' && !url.search && !url.hash && !url.username
  if (!url || !plain || url.password)
    throw new SettingError(`must list URLs of the form http://address:port, not ${JSON.stringify(entry)}`)
  return url.origin
}

/** The role as the pod's annotation names it, which the injector wrote into this container's environment. */
export function annotatedRole(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const role = env[IDENTITY_ENV.role]?.trim()
  return role !== undefined && role.length <= 2048 && /^[\x21-\x7e]+$/.test(role) ? role : undefined
}
