/** Ports for processes that need them as a setting. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'

/**
 * Below the ports that Linux gives to `listen(0)` and to clients (net.ipv4.ip_local_port_range begins at 32768), which
 * other tests could take before the process listens. Above all ports that tests name.
 */
const [FIRST, LAST] = [10_000, 32_000]

/** A TCP port on which nobody listens, and which no other call returns while this process lives. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST))
    // The kernel frees this name when its process ends, so the reservation needs no cleanup.
    const reservation = await listening({ path: `\0pod2iam-test-port-${port}` })
    if (reservation === undefined) continue
    const probe = await listening({ port })
    if (probe === undefined) {
      reservation.close()
      continue
    }
    await new Promise((resolve) => probe.close(resolve))
    reservation.unref()
    return port
  }
}

/** A server, or undefined if the address is in use. */
async function listening(place: { readonly path: string } | { readonly port: number }) {
  const server: Server = createServer().listen(place)
  try {
    await once(server, 'listening')
    return server
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return undefined
    throw error
  }
}
