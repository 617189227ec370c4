/**
 * The first fetch of credentials, made by the process itself before it reports that it is ready. It costs several times as much as later
 * ones, mostly to compile code that is called for the first time, and if the application uses every core that decides
 * whether a fetch succeeds within botocore's timeout of a second.
 */
import { get, put } from './http/get.ts'
import { hex, randomBytes } from './imds/random.ts'

const LIST = '/latest/meta-data/iam/security-credentials/'
/** The second and third fetch still cost twice as much as the hundredth: V8 collects feedback on code that is called again. */
const ROUNDS = 3
/** On a starved node; it is given up then, and the application pays for its first fetch itself. */
const TIMEOUT_MS = 5000
const MAX_BODY = 64 * 1024

/** Where this process can be reached. */
export type Endpoint = { readonly host: string; readonly port: number }

/** A warm-up, to be run. */
export function warmUpOf() {
  // Only this process knows the mark, so that no other request is left out of log and metrics.
  const mark = `?${hex(randomBytes(16))}`
  let [begun, over] = [false, false]
  return {
    /** Whether it is over, successfully or not. */
    isOver: () => over,
    /** Whether a request, by its URL, is one of these: they are no exchanges with the application. */
    isOwn: (url: string) => !over && url.endsWith(mark),
    /**
     * Fetches from the process itself, the first time it is called. Never rejects.
     *
     * @param port of this process on 127.0.0.1
     * @param redirected resolves with the metadata address once it leads here; undefined if there is no redirect. In a pod with a redirect
     *   direct connections are refused as soon as the gate has started (docs/decisions/0084), so also whenever the sidecar alone restarts.
     */
    run: async (port: number, role: string, redirected?: Promise<Endpoint>) => {
      if (begun) return
      begun = true
      await fetchAll({ host: '127.0.0.1', port }, role, mark)
        .catch(async () => {
          if (redirected !== undefined) await fetchAll(await redirected, role, mark)
        })
        .catch(() => {
          // The answers do not matter here: an application gets the same ones.
        })
      over = true
    },
  }
}

async function fetchAll(way: Endpoint, role: string, mark: string): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) await fetchOnce(way, role, mark)
}

async function fetchOnce(way: Endpoint, role: string, mark: string): Promise<void> {
  const ask = (path: string, headers: Readonly<Record<string, string>>) => ({
    ...{ ...way, connectTimeout: TIMEOUT_MS, answerTimeout: TIMEOUT_MS, maxBody: MAX_BODY },
    ...{ path: `${path}${mark}`, headers },
  })
  // As SDKs do, who keep their connections.
  const kept = { Connection: 'keep-alive' }
  const ttl = { 'X-aws-ec2-metadata-token-ttl-seconds': '1' }
  const { body: token } = await put(ask('/latest/api/token', { ...kept, ...ttl }))
  const headers = { ...kept, 'X-aws-ec2-metadata-token': token }
  await get(ask(LIST, headers))
  await get(ask(`${LIST}${role}`, headers))
}
