/** An invented cluster for the page: several nodes, pods in every state, refusals, sightings. */
import { request } from 'node:http'
import { createFeed, type Feed } from '../../cli/dashboard/feed.ts'
import { type DashboardServer, serveDashboard } from '../../cli/dashboard/server.ts'
import type { Refusal, Snapshot } from '../../cli/dashboard/snapshot.ts'
import type { NodeReport } from '../../cli/status/nodes.ts'
import type { Holder } from '../../cli/who/holders.ts'

export const NOW = Date.parse('2026-03-01T12:00:00Z')
const later = (minutes: number) => new Date(NOW + minutes * 60_000).toISOString()
const ROLES = 'arn:aws:iam::111111111111:role/'

export const node = (name: string, more: Partial<NodeReport> = {}): NodeReport => ({
  ...{ node: name, guard: `pod2iam-system/guard-${name}`, version: '1.2.0', source: 'guard' },
  ...{ mode: 'enforce', backend: 'nft', verified: true, broker: 'ready', refusedPackets: 12, repairs: 0 },
  ...{ leftovers: [], audit: [], hostNetwork: null, troubles: [], warnings: [] },
  ...more,
})

export const pod = (namespace: string, name: string, more: Partial<Holder> = {}): Holder => ({
  ...{ namespace, pod: name, node: 'ip-10-0-0-11.eu-west-1.compute.internal', serviceAccount: 'default' },
  ...{ role: `${ROLES}${namespace}-${name.replace(/-[^-]*$/, '')}`, source: 'annotation', narrowedBy: [] },
  ...{ session: `${namespace}.${name}`, refused: null, ready: true, expires: later(43), isAsked: true },
  ...more,
})

export const refusal = (namespace: string, name: string, more: Partial<Refusal> = {}): Refusal => ({
  ...{ namespace, kind: 'Pod', name, code: 'sts-denied', at: later(-4) },
  detail: `AWS denies role ${ROLES}${namespace}-${name} to the node role: its trust policy does not name it`,
  remedy: "correct the role's trust policy: pod2iam trust prints the statement that it needs",
  command: `pod2iam -n ${namespace} explain ${name}`,
  ...more,
})

const host = (last: number) => `ip-10-0-0-${last}.eu-west-1.compute.internal`

export const SNAPSHOT: Snapshot = {
  takenAt: NOW,
  context: 'production',
  isInstalled: true,
  nodes: [
    node(host(11)),
    node(host(12), { backend: 'iptables-nft', refusedPackets: 3041, repairs: 2 }),
    node(host(13), {
      ...{ verified: false, broker: 'not ready' },
      troubles: [
        {
          code: 'block-not-verified',
          detail: 'chain prerouting of table inet pod2iam is gone, and cannot be made again',
        },
        { code: 'broker-not-ready', detail: 'broker is not ready: its probe fails' },
      ],
    }),
    node(host(14), {
      mode: 'audit',
      warnings: [{ code: 'imds-v1', detail: 'the metadata service answers without a session token' }],
    }),
    node(host(15), {
      ...{ verified: null, source: 'api', mode: 'unknown', backend: 'unknown' },
      refusedPackets: null,
    }),
    node(host(16), {
      ...{ guard: null, version: null, source: 'api', mode: 'none', backend: 'none', verified: false },
      ...{ broker: 'not ready', refusedPackets: null, repairs: null },
      troubles: [
        {
          code: 'guard-missing',
          detail:
            'it has no node guard, so its pods can reach the metadata service of the node, and none gets credentials',
        },
      ],
    }),
  ],
  versions: { injector: { '1.2.0': 2 }, nodeGuard: { '1.2.0': 5 }, sidecars: { '1.1.0': 3, '1.2.0': 4 } },
  pods: [
    pod('shop', 'orders-7d9f'),
    pod('shop', 'orders-8c2a', { expires: later(3), node: host(12) }),
    pod('shop', 'invoices-5b1c', { refused: 'role-not-allowed', session: null, ready: false, expires: null }),
    pod('reports', 'nightly-x1', {
      role: `${ROLES}team/reporting/very-long-name-of-a-role-for-nightly-reports`,
    }),
    pod('reports', 'metadata', { ...{ role: null, source: 'none', session: null }, expires: null }),
    pod('web', 'front-1', { source: 'default', node: host(13), ready: false, isAsked: false, expires: null }),
  ],
  refusals: [
    refusal('shop', 'invoices-5b1c', {
      code: 'role-not-allowed',
      detail: `namespace shop may not use ${ROLES}shop-invoices: its annotation iam.amazonaws.com/allowed-roles lists ["shop-orders"]`,
      remedy: 'let the namespace list the role',
    }),
    refusal('web', 'api-6f', {
      ...{ kind: 'ReplicaSet', code: 'pods-refused', at: later(-11) },
      detail: 'a pod on the host network cannot have its own IAM role, because its traffic is the node’s',
      remedy: "correct what the message names in the workload's template or its namespace",
      command: 'pod2iam -n web explain replicaset/api-6f',
    }),
  ],
  audit: {
    seen: [
      {
        workload: { namespace: 'legacy', kind: 'Deployment', name: 'importer' },
        ...{ addresses: ['10.0.1.4'], nodes: [host(14)], via: 'direct', packets: 118 },
        ...{ firstSeen: later(-300), lastSeen: later(-2) },
        todo: {
          code: 'annotate',
          detail:
            "it names no role, so it uses the node's: annotate its template with iam.amazonaws.com/role",
        },
      },
    ],
    auditing: 1,
    others: 5,
  },
  refused: [],
  faults: [],
}

export type Page = DashboardServer & {
  /** Sets the next result of a look at the cluster. */
  set(next: Snapshot | Error): void
  feed: Feed
}

/** Serves the page of this snapshot on loopback. */
export async function servePage(first: Snapshot | Error = SNAPSHOT): Promise<Page> {
  let now = first
  const feed = createFeed({
    look: async () => {
      if (now instanceof Error) throw now
      return now
    },
    faultOf: (error) => ({
      code: 'cluster-unreachable',
      message: error instanceof Error ? error.message : String(error),
      remedy: 'try again',
    }),
    intervalMs: 20,
    clock: () => performance.now(),
  })
  const server = await serveDashboard(feed, 0)
  return {
    ...server,
    feed,
    set(next) {
      now = next
    },
  }
}

export type Answer = {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
}

/** Sends a request with exactly these headers, including Host. */
export function ask(url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers, agent: false }, (response) => {
      let body = ''
      response.setEncoding('utf8').on('data', (text) => {
        body += text
      })
      response.once('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
      )
    })
    sent.once('error', reject).end()
  })
}
