/**
 * Rollouts under load: two replicas are replaced one after the other, again and again, while clients that keep connections
 * as an API server does (the peer `webhook-client`) send reviews all the time.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { buildComponent } from '../../../build.ts'
import { authority } from '../../injector/certificates.ts'
import { fakeApi } from '../../injector/fake-api.ts'
import { namespace, pod, reviewOf } from '../../injector/fixtures.ts'
import { type ClientReport, type WebhookClient, webhookClient } from '../../injector/webhook-client.ts'
import { needsPeer, peer } from '../../peers/peers.ts'
import type { Figure } from '../report.ts'
import { type RunningInjector, startBundle } from './process.ts'

export type Rollouts = {
  /** The number of replicas that are ended. */
  readonly drains: number
  /** The number of API servers, each with connections of its own. */
  readonly clients: number
  /** Milliseconds from SIGTERM until no new connection leads to a replica any more. */
  readonly endpointLagMs: number
  /** Further flags of the injector. */
  readonly settings: readonly string[]
  /** The bundle of another release, to compare its figures. */
  readonly built?: string
}

const PEER = 'webhook-client'
/** Delay between two zones, and the pauses of a busy machine. */
const DELAY_MS = 3

/** The results of the reviews, and how long a drain took; rejects if a replica ends with another code than 0. */
export async function rolloutFigures(plan: Rollouts, tell: (what: string) => void): Promise<Figure[]> {
  const name = `reviews that failed in ${plan.drains} drains`
  const program = peer(PEER)
  if (program === undefined) return [{ name, value: undefined, unit: '', note: needsPeer(PEER).skip ?? '' }]
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-rollouts-'))
  const bundle = plan.built ?? join(directory, 'injector.cjs')
  if (plan.built === undefined) await buildComponent('injector', bundle)
  const { name: shop, ...rest } = namespace()
  const [api, ca] = [await fakeApi({ [shop]: rest }), await authority()]
  const { settings } = plan
  const replica = () => startBundle({ kubeconfig: api.kubeconfig, authority: ca, bundle, settings })
  const clients: WebhookClient[] = []
  try {
    for (let index = 0; index < plan.clients; index++) {
      const client = await webhookClient(program, ca.pem, reviewOf(pod()))
      clients.push(client)
      // With a delay, requests cross with the closing of connections; every other client has one.
      if (index % 2 === 1) await client.tell(`delay ${DELAY_MS}`)
    }
    const times = await rollOut(clients, replica, plan, tell)
    const reports = await Promise.all(clients.splice(0).map((client) => client.end()))
    const failures = Object.entries(failuresOf(reports))
    return [
      {
        name,
        value: failures.reduce((sum, [, count]) => sum + count, 0),
        unit: '',
        target: 0,
        note: [`of ${sentOf(reports)}`, ...failures.map(([text, count]) => `${count} × ${text}`)].join('; '),
      },
      { name: 'longest drain', value: Math.max(...times), unit: 'ms' },
    ]
  } finally {
    for (const client of clients) client.kill()
    await api.close()
    await rm(directory, { recursive: true, force: true })
  }
}

/** Milliseconds that each drain took. */
async function rollOut(
  clients: readonly WebhookClient[],
  replica: () => Promise<RunningInjector>,
  { drains, endpointLagMs }: Rollouts,
  tell: (what: string) => void,
): Promise<number[]> {
  const all = (command: string) => Promise.all(clients.map((client) => client.tell(command)))
  const replicas: RunningInjector[] = []
  const serve = () => all(`endpoints ${replicas.map(({ port }) => `127.0.0.1:${port}`).join(' ')}`)
  const times: number[] = []
  try {
    replicas.push(await replica(), await replica())
    await serve()
    await all('load')
    for (let drain = 1; drain <= drains; drain++) {
      replicas.push(await replica())
      await serve()
      const [old] = replicas.splice(0, 1)
      const begun = performance.now()
      const code = old?.terminate()
      await sleep(endpointLagMs)
      await serve()
      if ((await code) !== 0) throw new Error(`a replica ended with ${await code}`)
      times.push(performance.now() - begun)
      await old?.end()
      const reports = await all('report')
      tell(`${drain} drains, ${sentOf(reports)} reviews, failed: ${JSON.stringify(failuresOf(reports))}`)
    }
    // A client's last reviews need an answer, too.
    await all('rest')
    return times
  } finally {
    for (const one of replicas) await one.end()
  }
}

function failuresOf(reports: readonly ClientReport[]): Record<string, number> {
  const all: Record<string, number> = {}
  for (const { failures } of reports)
    for (const [text, count] of Object.entries(failures)) all[text] = (all[text] ?? 0) + count
  return all
}

const sentOf = (reports: readonly ClientReport[]) => reports.reduce((sum, { sent }) => sum + sent, 0)
