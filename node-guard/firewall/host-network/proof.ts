import { createSocket } from 'node:dgram'
import { PROOF_PORT } from '../rules/host-network.ts'

/** Errors which show that the node has no route to the address, so that no pod on its network has one. */
const NO_ROUTE: ReadonlySet<unknown> = new Set([
  'ENETUNREACH',
  'EHOSTUNREACH',
  'EADDRNOTAVAIL',
  'EAFNOSUPPORT',
  'EINVAL',
])

/**
 * Sends each metadata address a packet that the rules have to match, since this process is in a pod.
 *
 * @returns how many of them should have been counted
 */
export async function sendProofs(addresses: readonly string[]): Promise<number> {
  const sent = await Promise.all(addresses.map(sendProof))
  return sent.filter(Boolean).length
}

function sendProof(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4')
    const end = (error?: Error | null) => {
      socket.close()
      // EPERM is how the kernel reports that a rule drops it.
      resolve(!NO_ROUTE.has((error as NodeJS.ErrnoException | null | undefined)?.code))
    }
    socket.once('error', end)
    socket.send('', PROOF_PORT, address, end)
  })
}
