import type { Cluster } from '../cluster/cluster.ts'
import { connect } from '../cluster/cluster.ts'
import { type ClusterOptions, openCluster } from '../cluster/kubeconfig.ts'
import { CliError } from '../failure.ts'
import { collect, faultOf } from './collect.ts'
import { expiries } from './expiries.ts'
import { createFeed } from './feed.ts'
import { openBrowser } from './open-browser.ts'
import { serveDashboard } from './server.ts'
import type { Snapshot } from './snapshot.ts'

export type DashboardOptions = ClusterOptions & {
  /** 0 means a free port. */
  readonly port: number
  /** Seconds. */
  readonly interval: number
  readonly open?: boolean
}

/**
 * `dashboard`: serves the page until the signal.
 *
 * @param ready called with the page's address
 * @param warn called with one sentence about anything that did not work
 * @throws {CliError} without a usable kubeconfig, or if the port is in use
 */
export async function dashboard(
  options: DashboardOptions,
  signal: AbortSignal,
  ready: (url: string) => void,
  warn: (sentence: string) => void,
): Promise<void> {
  const feed = createFeed({
    look: looker(options),
    faultOf,
    intervalMs: options.interval * 1000,
    clock: () => performance.now(),
  })
  const server = await serveDashboard(feed, options.port)
  // The first page then has less to wait for; the page reports errors.
  void feed.latest(0)
  ready(server.url)
  if (options.open) openBrowser(server.url, ({ message }) => warn(`no browser could be started: ${message}`))
  await ended(signal)
  await server.close()
}

/** One client for all updates, so that a credential plugin runs once per credential; after a failed login a new client is created. */
function looker(options: ClusterOptions): () => Promise<Snapshot> {
  const memory = expiries()
  let opened: Cluster | undefined = openCluster(options)
  return async () => {
    opened ??= openCluster(options)
    const { config, namespace } = opened
    try {
      return await collect(connect(config, namespace), memory)
    } catch (error) {
      if (error instanceof CliError && error.code === 'not-authenticated') opened = undefined
      throw error
    }
  }
}

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
