import { isIP } from 'node:net'
import { hostPort, SIDECAR_HEALTH_PORT } from '../../common/addresses.ts'
import { httpRequest } from '../../common/http-request.ts'
import { objectOf } from '../json.ts'

const TIMEOUT_MS = 1000
const MAX_BYTES = 4096

/**
 * Why a sidecar is not ready: the code that its `/readyz` gives to everybody in the cluster. The pod controls what answers there, so
 * an answer without the shape of a code counts as unreadable.
 *
 * @param ip the pod's address
 */
export async function readyzCode(
  ip: string,
  port = SIDECAR_HEALTH_PORT,
  timeoutMs = TIMEOUT_MS,
): Promise<string> {
  if (isIP(ip) === 0) return 'sidecar-unreachable'
  const url = new URL(`http://${hostPort(ip, port)}/readyz`)
  try {
    const { body } = await httpRequest(url, { timeoutMs, maxBytes: MAX_BYTES, agent: false })
    const { code } = objectOf(JSON.parse(body))
    return typeof code === 'string' && /^[a-z][a-z-]{0,39}$/.test(code) ? code : 'sidecar-unreadable'
  } catch (error) {
    return error instanceof SyntaxError ? 'sidecar-unreadable' : 'sidecar-unreachable'
  }
}
