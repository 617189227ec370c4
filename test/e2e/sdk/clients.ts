/**
 * Programs with one SDK each and its default chain. All of them have the same protocol: a line of JSON at the start and another
 * one for each line of stdin, for which they get credentials again and ask STS; they end when stdin ends.
 */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { needsPeer, peer } from '../../peers/peers.ts'
import type { Cluster } from '../../sandbox/cluster.ts'

export type Answer = {
  /** The identity for which STS accepted the signature. */
  readonly arn?: string
  /** Absent with the AWS CLI. */
  readonly accessKeyId?: string
  /** RFC 3339, where the SDK provides it. */
  readonly expiration?: string
  readonly error?: string
}

export type Client = {
  /** Resolves with the next line that it prints. */
  readonly answer: () => Promise<Answer>
  /** Lets it get credentials again, and resolves with the line that it prints then. */
  readonly ask: () => Promise<Answer>
}

type Program = { readonly argv: readonly string[]; readonly needs: { readonly skip?: string } }

const JAVASCRIPT = fileURLToPath(new URL('./javascript/whoami.ts', import.meta.url))

/** The programs by the name of the client. */
export const PROGRAMS: Readonly<Record<string, Program>> = {
  'the AWS CLI': pinned('whoami-cli'),
  boto3: pinned('whoami-boto3'),
  'the AWS SDK for JavaScript v3': { argv: [process.execPath, JAVASCRIPT], needs: {} },
  'the AWS SDK for Go v2': pinned('whoami-go'),
  'the AWS SDK for Java v2': pinned('whoami-java'),
}

/** This is longer than any SDK tries. */
const ANSWER_MS = 60_000

/** Starts a client in the app container of a pod; it ends with the sandbox at the latest. */
export function startClient(cluster: Cluster, pod: string, { argv }: Program): Client {
  const [command = '', ...args] = cluster.pods.execArgv(pod, argv)
  const child = spawn(command, args, { stdio: 'pipe' })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr = `${stderr}${chunk}`.slice(-4000)
  })
  child.stdin.on('error', () => {}) // EPIPE: the missing line shows that it has ended
  const answer = async () => {
    const line = await within(ANSWER_MS, lines.next())
    if (line === undefined || line.done) throw new Error(`${argv.join(' ')} printed nothing: ${stderr}`)
    const found: Answer = JSON.parse(line.value)
    return found.error === undefined || stderr === '' ? found : { error: `${found.error}: ${stderr}` }
  }
  const ask = () => {
    stderr = ''
    child.stdin.write('\n')
    return answer()
  }
  return { answer, ask }
}

function pinned(command: string): Program {
  return { argv: [peer(command) ?? command], needs: needsPeer(command) }
}

async function within<T>(milliseconds: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, milliseconds, undefined)
  })
  return await Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
