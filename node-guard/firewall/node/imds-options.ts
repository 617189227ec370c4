import { connect, type Socket } from 'node:net'
import { messageOf } from '../../../common/errors.ts'
import { timedPromise } from '../../../common/timed-promise.ts'
import { applyRuleset, deleteTable } from '../nft/table.ts'
import type { Exec } from '../process/exec.ts'
import type { TableName } from '../rules/nft.ts'

/** Options of this node's metadata service, as far as its answers to the host reveal them. */
export type ImdsOptions = {
  /** It answers without a session token. */
  readonly version1: boolean
  /** How many hops its answer to a request for a token may take; undefined if that could not be determined. */
  readonly hopLimit: number | undefined
}

/** Exists only during the request; its name must not contain that of one of the guard's tables. */
export const IMDS_PROBE_TABLE: TableName = 'inet pod2iam_look'

const PORT = 80
const TIMEOUT_MS = 2000
const MAX_BYTES = 16 * 1024

/**
 * Asks the real metadata service, as the host may. It asks for no credentials, and does not keep the token.
 *
 * The hop limit is the TTL of the packet with the answer to PUT (EC2 User Guide, "PUT response hop limit"). A socket does
 * not show it, so a rule for this one connection records it.
 *
 * @returns undefined if the service is switched off
 * @throws if it cannot be reached, or does not answer as EC2 does
 */
export async function readImdsOptions(
  exec: Exec,
  address: string,
  port: number = PORT,
): Promise<ImdsOptions | undefined> {
  const host = address.includes(':') ? `[${address}]` : address
  const request = (first: string, headers = '') =>
    `${first} HTTP/1.1\r\nHost: ${host}\r\n${headers}Content-Length: 0\r\nConnection: close\r\n\r\n`
  const put = request('PUT /latest/api/token', 'X-aws-ec2-metadata-token-ttl-seconds: 1\r\n')
  const get = request('GET /latest/meta-data/')

  const without = await exchange(address, port, async () => get)
  if (without === 403) return undefined
  if (without !== 200 && without !== 401) throw new Error(`it answered ${without} to a GET`)
  try {
    await exchange(address, port, async ({ localPort = 0 }) => {
      await applyRuleset(exec, probeRuleset(address, port, localPort))
      return put
    })
    return { version1: without === 200, hopLimit: await readHopLimit(exec) }
  } finally {
    await deleteTable(exec, IMDS_PROBE_TABLE)
  }
}

/** Sends the request that `prepare` returns, on a separate connection. Returns the status of the answer. */
function exchange(
  address: string,
  port: number,
  prepare: (socket: Socket) => Promise<string>,
): Promise<number> {
  const socket = connect({ host: address, port })
  let text = ''
  const { promise, resolve, reject } = timedPromise<number>(TIMEOUT_MS, ({ reject }) =>
    reject(new Error(`it did not answer within ${TIMEOUT_MS} ms`)),
  )
  const fail = (why: string) => reject(new Error(why))
  // The message without the local address, which is still unset.
  socket.on('error', (error) => fail(messageOf(error).replace(/ - Local .*/, '')))
  socket.on('close', () => fail('it closed the connection without an answer'))
  socket.on('connect', async () => socket.write(await prepare(socket)))
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk
    const status = /^HTTP\/1\.[01] (\d{3})[ \r]/.exec(text)?.[1]
    if (status !== undefined) resolve(Number(status))
    else if (text.length > MAX_BYTES) fail('it does not speak HTTP')
  })
  return promise.finally(() => socket.destroy())
}

/** Records the TTL of the packets with data on one connection, of either family. */
function probeRuleset(address: string, port: number, localPort: number): string {
  const [ip, ttl] = address.includes(':') ? ['ip6', 'ip6 hoplimit'] : ['ip', 'ip ttl']
  return `add table ${IMDS_PROBE_TABLE}
delete table ${IMDS_PROBE_TABLE}
table ${IMDS_PROBE_TABLE} {
  set ttl { typeof ${ttl}; flags dynamic; size 16; }
  chain input {
    type filter hook input priority -190; policy accept;
    ${ip} saddr ${address} tcp sport ${port} tcp dport ${localPort} tcp flags & psh == psh update @ttl { ${ttl} }
  }
}
`
}

/** The lowest TTL seen. */
async function readHopLimit(exec: Exec): Promise<number | undefined> {
  const result = await exec('nft', ['--json', 'list', 'set', ...IMDS_PROBE_TABLE.split(' '), 'ttl'])
  if (result.code !== 0) return undefined
  const { nftables } = JSON.parse(result.stdout) as { nftables: { set?: { elem?: unknown[] } }[] }
  const seen = nftables.flatMap(({ set }) => set?.elem ?? []).filter((ttl) => typeof ttl === 'number')
  return seen.length > 0 ? Math.min(...seen) : undefined
}
