/** Ports for processes that must be told theirs before they listen. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'

/**
 * Below what Linux gives to `listen(0)` and to clients (net.ipv4.ip_local_port_range begins with 32768): those would be
 * taken by other tests before the process listens. Above all that tests listen on by number.
 */
const [FIRST, LAST] = [10_000, 32_000]

/** A TCP port on which nobody listens, and which no other call gives away while this process lives. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST))
    // A name that the kernel forgets with its process: a reservation that needs no cleaning up.
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

/** A server, or undefined where the place is taken. */
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
