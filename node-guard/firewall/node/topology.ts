import { messageOf } from '../../../common/errors.ts'
import type { Logger } from '../../../common/log.ts'
import { type Exec, whyFailed } from '../process/exec.ts'
import { classifyNetwork, isUsefulRoute, type Link, type NodeNetwork, type Topology } from './network.ts'
import { ensureReturnRoutes, type ReturnRouteOptions } from './return-routes.ts'

/**
 * The interfaces and prefixes that lead into and out of the node, as far as the guard knows them.
 *
 * @param options `routeOptions`: the addresses for which return routes are kept; `fallback`: the interfaces of the usual default
 *   routes, used until `ip` has answered
 */
export function createTopology(options: {
  readonly exec: Exec
  readonly routeOptions: ReturnRouteOptions
  readonly fallback: () => readonly string[]
  readonly log: Logger
}) {
  const { exec, routeOptions, fallback, log } = options
  let seen: NodeNetwork | undefined
  let detail: string | undefined
  /** What the rules need to know, as last read; synchronous, since a repair waits for it. */
  const known = (): Topology => {
    const { uplinks = fallback(), inner = [], outer = [] } = seen ?? {}
    return { uplinks, inner, outer }
  }

  /**
   * Reads the network again, and updates the return routes to pods behind policy routing; never throws. Returns whether `known` has changed.
   * Not to be called while it runs.
   */
  const look = async () => {
    const before = JSON.stringify(known())
    let failed: string | undefined
    try {
      seen = await readNetwork(exec)
      failed = await ensureReturnRoutes(exec, routeOptions, seen.hidden)
    } catch (error) {
      failed = `the node's interfaces could not be read, so that new ones that lead outside are not known: ${messageOf(error)}`
    }
    if (failed !== undefined && failed !== detail)
      log.error('ways into the node incomplete', { detail: failed })
    detail = failed
    return JSON.stringify(known()) !== before
  }
  return {
    known,
    look,
    /** Why some pods may not reach the broker, as a sentence, or undefined. */
    problem: () => detail,
  }
}

/** Reads this network namespace. Throws if `ip` fails. */
async function readNetwork(exec: Exec): Promise<NodeNetwork> {
  // The addresses of Services that IPVS makes the node's own, the routes to them and the routes to other nodes are left out,
  // since there may be tens of thousands of each.
  const [links, wires, ...routes] = await Promise.all([
    exec('ip', ['-json', '-details', 'link', 'show']),
    exec('ip', ['-oneline', 'address', 'show', 'type', 'veth'], { keepLine: isSubnet }),
    ...['-4', '-6'].map((family) =>
      exec('ip', [family, '-oneline', 'route', 'show', 'table', 'all', 'type', 'unicast'], {
        keepLine: isUsefulRoute,
      }),
    ),
  ])
  if (links.code !== 0) throw new Error(whyFailed('ip', links))
  if (wires.code !== 0) throw new Error(whyFailed('ip', wires))
  for (const listed of routes)
    if (listed.code !== 0 && !/not supported/i.test(listed.stderr)) throw new Error(whyFailed('ip', listed))
  return classifyNetwork({
    links: JSON.parse(links.stdout) as Link[],
    externalVeths: [...wires.stdout.matchAll(/^\d+: (\S+)/gm)].map(([, name = '']) => name),
    routes: routes.map(({ stdout }) => stdout).join('\n'),
  })
}

/** Whether a line of `ip -oneline address` is about a global address in a subnet with other hosts. */
export const isSubnet = (line: string) =>
  / scope global /.test(line) &&
  / inet6? \S+\/\d+ /.test(line) &&
  !/ (inet \S+\/32|inet6 \S+\/128) /.test(line)

/**
 * Whether a line of `ip -oneline monitor link address route rule` may change the topology: default routes, tables and rules
 * of policy routing, and devices other than a plain veth to a pod, of which a node has hundreds come and go.
 */
export function changesTopology(line: string): boolean {
  const text = line.replace(/^Deleted /, '')
  if (/ table local /.test(text)) return false
  return (
    /^(default|[\da-f.:]+\/[0-7]) /.test(text) ||
    / table \S+/.test(text) ||
    /^\d+:\s+(not )?from /.test(text) ||
    (/^\d+: /.test(text) && / link\//.test(text) && !/^\d+: [^:]+@if\d+:/.test(text)) ||
    isSubnet(text)
  )
}
