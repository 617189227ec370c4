import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { messageOf } from '../../common/errors.ts'
import { CliError } from '../failure.ts'
import { dashboardApp } from './app.ts'
import type { Feed } from './feed.ts'

const LOOPBACK = '127.0.0.1'
/** A browser opens six connections; no other client needs many. */
const MAX_CONNECTIONS = 128

export type DashboardServer = { readonly url: string; readonly close: () => Promise<void> }

/**
 * Serves the page on loopback.
 *
 * @param port 0 selects a free one
 * @throws {CliError} if it cannot listen on the port
 */
export async function serveDashboard(feed: Feed, port: number): Promise<DashboardServer> {
  let bound = port
  const { fetch } = dashboardApp({ feed, port: () => bound })
  const server = createServer(
    { requestTimeout: 10_000, headersTimeout: 10_000, maxHeaderSize: 16 * 1024 },
    getRequestListener(fetch, { overrideGlobalObjects: false }),
  )
  server.maxConnections = MAX_CONNECTIONS
  server.listen(port, LOOPBACK)
  try {
    await once(server, 'listening')
  } catch (error) {
    throw new CliError(
      'port-unusable',
      `cannot listen on ${LOOPBACK}:${port} (${messageOf(error)})`,
      'omit --port to use a free one',
      { cause: error },
    )
  }
  bound = (server.address() as AddressInfo).port
  return {
    url: `http://${LOOPBACK}:${bound}/`,
    async close() {
      feed.close()
      if (!server.listening) return
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}
