/**
 * A client in a pod: requests the credential document from 169.254.169.254 with a session token that it got there, or fetches as SDKs do,
 * whichever service answers. Prints one JSON line: the times of each load of its first argument.
 */
import { connect, type Socket } from 'node:net'
import { ask, requestBytes } from '../../sidecar/support/index.ts'
import { type Load, type LoadResult, runLoad } from '../load.ts'
import { quantile } from '../report.ts'
import { ROLE_PATH } from './process.ts'
import { wholeFetch } from './whole-fetch.ts'

export type ClientLoad =
  | Pick<Load, 'requests' | 'connections' | 'keepAlive'>
  /** This many whole fetches, one after the other, each on a connection of its own. */
  | { readonly wholeFetches: number }

const ADDRESS = '169.254.169.254'
const WARM_UP = 300

if (process.argv[1] === import.meta.filename) {
  const loads = JSON.parse(process.argv[2] ?? '[]') as readonly ClientLoad[]
  const token = await ask(80, {
    address: ADDRESS,
    method: 'PUT',
    path: '/latest/api/token',
    headers: { 'X-aws-ec2-metadata-token-ttl-seconds': '21600' },
  })
  if (token.status !== 200) throw new Error(`the token was refused: ${token.status}`)
  const bytes = requestBytes({ path: ROLE_PATH, headers: { 'X-aws-ec2-metadata-token': token.body } })
  const load = (one: ClientLoad) =>
    'wholeFetches' in one ? runWholeFetches(one.wholeFetches) : runLoad({ ...one, port: 80, bytes, dial })
  await load({ requests: WARM_UP, connections: 4, keepAlive: true })
  const results = []
  for (const one of loads) results.push(await load(one))
  console.log(JSON.stringify(results))
}

async function runWholeFetches(count: number): Promise<LoadResult> {
  const durations: number[] = []
  let failures = 0
  const begun = performance.now()
  while (durations.length + failures < count) {
    const start = performance.now()
    const socket = await dial(80)
    await wholeFetch(socket).then(
      () => durations.push((performance.now() - start) * 1000),
      () => failures++,
    )
    socket.destroy()
  }
  const perSecond = (durations.length / (performance.now() - begun)) * 1000
  return { p50: quantile(durations, 0.5), p99: quantile(durations, 0.99), perSecond, failures }
}

function dial(port: number): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>()
  const socket = connect({ port, host: ADDRESS, noDelay: true })
  socket.setEncoding('latin1')
  socket.once('error', reject).once('connect', () => resolve(socket))
  return promise
}
