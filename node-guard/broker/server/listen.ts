/**
 * Listeners, one per address, each bound independently, and bound again when it is lost: the firewall's link may come after the broker, an
 * IPv6 address is tentative for a second or two, and a predecessor may still hold the port.
 */

import { once } from 'node:events'
import type { Server } from 'node:http'
import { hostPort } from '../../../common/addresses.ts'
import { backoff } from '../../../common/backoff.ts'
import { pause } from '../../../common/clock.ts'
import type { Deps } from '../../../common/deps.ts'
import { messageOf } from '../../../common/errors.ts'
import { shutdownOf } from './shutdown.ts'

const RETRY = { base: 100, cap: 2000 }
/** After so many failures, some three seconds, it is no predecessor that still holds the port. */
const REPORTED = 5

export const PORT_TAKEN = 'broker-port-taken'

/** @param addresses with ports */
export const whyTaken = (addresses: readonly string[]) =>
  `another process listens on ${addresses.join(' and ')} and may receive what sidecars send to the broker: find it on this node (ss -ltnp) and end it; only the host network allows this, which guard.hostNetwork=block and PodSecurity baseline prevent`

/** @param createServer makes one server per address */
export function listenAll(
  addresses: readonly string[],
  port: number,
  createServer: () => Server,
  { clock, log }: Pick<Deps, 'clock' | 'log'>,
) {
  const stopping = new AbortController()
  const { signal } = stopping
  const servers = new Map<Server, () => Promise<void>>()
  const taken = new Set<string>()

  const keepBound = async (address: string) => {
    const where = hostPort(address, port)
    let failures = 0
    while (!signal.aborted) {
      const server = createServer()
      const end = shutdownOf(server, clock)
      try {
        await once(server.listen({ host: address, port }), 'listening', { signal })
      } catch (error) {
        server.close()
        const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
        failures++
        // Only once, because a node whose firewall never creates the link would fill the log.
        if (isTaken && failures >= REPORTED && !taken.has(where)) {
          taken.add(where)
          log.error('port taken', { code: PORT_TAKEN, detail: whyTaken([where]) })
        } else
          log[failures === REPORTED ? 'warn' : 'debug']('cannot listen yet', {
            ...{ address: where, error: messageOf(error) },
          })
        await pause(clock, backoff(failures, RETRY), signal)
        continue
      }
      failures = 0
      taken.delete(where)
      servers.set(server, end)
      log.info('listening', { address: where })
      // Such as EMFILE on accept: the listener goes on.
      server.on('error', (error) => log.warn('listener error', { address: where, error: messageOf(error) }))
      await new Promise((resolve) => server.once('close', resolve))
      servers.delete(server)
    }
  }
  for (const address of addresses) void keepBound(address)

  return {
    /** Addresses bound now. */
    bound: () =>
      [...servers.keys()]
        .map((server) => server.address())
        .filter((info) => typeof info === 'object' && info !== null),
    /** Addresses that another process listens on, with ports. */
    taken: () => [...taken],
    /** Accepts no more connections and answers the requests that have arrived; resolves when no connection is left. */
    stop: async () => {
      stopping.abort()
      await Promise.all([...servers.values()].map((end) => end()))
    },
  }
}
