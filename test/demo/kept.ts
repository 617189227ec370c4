/**
 * A demo that was left running: it listens on a socket that only its user can open, so that `npm run demo -- exec` and
 * `npm run demo -- stop` can find it.
 */
import { chmodSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { KubeObject } from '../sandbox/index.ts'
import type { Stage } from './stage.ts'

const SOCKET = join(tmpdir(), `pod2iam-demo-${process.getuid?.() ?? 0}.sock`)

/** A forgotten demo ends by itself. */
export const LIFETIME_HOURS = 12

/**
 * Refuses to start a second demo that stays: its socket would replace that of the first one, which nobody could end then.
 *
 * @throws Error with the remedy if one is running
 */
export async function refuseSecond(): Promise<void> {
  const answers = await ask('/there', {}).then(
    () => true,
    () => false,
  )
  if (answers) throw new Error('a demo was left running already; `npm run demo -- stop` ends it')
}

/**
 * Serves `exec` and `stop`.
 *
 * @returns a function that waits until it is stopped
 * @throws Error if another demo was started in between
 */
export async function keep(stage: Stage): Promise<() => Promise<void>> {
  await refuseSecond()
  // The socket may belong to a demo that was killed.
  rmSync(SOCKET, { force: true })
  const server = createServer(async (incoming, response) => {
    const answer = await handle(stage, incoming.url, await text(incoming)).catch((error: Error) => ({
      error: error.message,
    }))
    response.end(JSON.stringify(answer))
    if (incoming.url === '/stop') server.close()
  })
  await new Promise<void>((resolve) => server.listen(SOCKET, resolve))
  chmodSync(SOCKET, 0o600)
  setTimeout(() => server.close(), LIFETIME_HOURS * 3600 * 1000).unref()
  const closed = new Promise<void>((resolve) => server.once('close', resolve))
  return async () => {
    await closed
    rmSync(SOCKET, { force: true })
  }
}

async function handle(stage: Stage, url: string | undefined, body: string): Promise<unknown> {
  if (url !== '/exec') return {}
  const { pod, argv }: { pod: string; argv: string[] } = JSON.parse(body)
  return await stage.inPod(await fullName(stage, pod), ...argv)
}

/** `namespace/name` of a pod that is given by its name alone, if there is exactly one. */
async function fullName(stage: Stage, pod: string): Promise<string> {
  if (pod.includes('/')) return pod
  const { items } = await stage.kube.list<KubeObject>('pods')
  const names = items.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`)
  const [found, second] = names.filter((name) => name.endsWith(`/${pod}`))
  if (found !== undefined && second === undefined) return found
  throw new Error(`there is ${found ? 'more than one' : 'no'} pod ${pod}; the pods are ${names.join(', ')}`)
}

/** Sends a request to the demo that was left running. Throws a sentence if there is none. */
export async function ask(
  path: '/exec' | '/stop' | '/there',
  body: unknown,
): Promise<Record<string, unknown>> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request({ socketPath: SOCKET, path, method: 'POST' }, resolve)
      .on('error', reject)
      .end(JSON.stringify(body))
  }).catch(() => {
    throw new Error('no demo is running; `npm run demo -- --keep` starts one and leaves it running')
  })
  return JSON.parse(await text(response))
}
