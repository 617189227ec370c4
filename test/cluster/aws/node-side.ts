/**
 * The stand-in for AWS on one node of a cluster outside EC2; runs privileged on the host network (stand-in.ts installs it).
 *
 *   serve            a network namespace behind a veth that answers at the metadata addresses, and STS beside them
 *   call OP JSON     one operation of the stand-in's control (test/sandbox/aws/control.ts); prints its result
 *
 * The stand-in has a network namespace of its own, not a dummy link on the node: the node must *forward* what pods send, as on EC2.
 * What it delivers to an address of its own bypasses the guard's rules.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { request } from 'node:http'
import { createConnection } from 'node:net'
import { METADATA_ADDRESSES } from '../../../common/addresses.ts'
import { REFUSED } from './refused.ts'

const [IMDS4, IMDS6] = METADATA_ADDRESSES
const NETNS = 'pod2iam-aws'
const LINK = 'pod2iam-aws0'
const HERE = ['169.254.171.1', 'fd00:70d2:1b::1'] as const
const THERE = ['169.254.171.2', 'fd00:70d2:1b::2'] as const
const DIRECTORY = '/run/pod2iam-aws'
const SOCKET = `${DIRECTORY}/control.sock`

const [mode, operation = '', argument = '{}'] = process.argv.slice(2)

class Refused extends Error {}

function ip(words: string): void {
  const { status, stderr, error } = spawnSync('ip', words.split(' '), { encoding: 'utf8', timeout: 10_000 })
  if (status !== 0) throw new Error(`ip ${words}: ${error?.message ?? stderr.trim()}`)
}

function attempt(...commands: readonly string[]): boolean {
  try {
    for (const command of commands) ip(command)
    return true
  } catch {
    return false
  }
}

/** Builds the network; returns the metadata addresses that exist, because a node may have no IPv6. */
function network(): string[] {
  takeDown()
  ip(`netns add ${NETNS}`)
  ip(`link add ${LINK} type veth peer name eth0 netns ${NETNS}`)
  ip(`addr add ${HERE[0]}/30 dev ${LINK}`)
  ip(`link set ${LINK} up`)
  for (const device of ['lo', 'eth0']) ip(`-n ${NETNS} link set ${device} up`)
  ip(`-n ${NETNS} addr add ${THERE[0]}/30 dev eth0`)
  ip(`-n ${NETNS} addr add ${IMDS4}/32 dev lo`)
  ip(`-n ${NETNS} route add default via ${HERE[0]}`)
  ip(`route replace ${IMDS4}/32 via ${THERE[0]} dev ${LINK}`)
  const six = attempt(
    `addr add ${HERE[1]}/64 dev ${LINK} nodad`,
    `-n ${NETNS} addr add ${THERE[1]}/64 dev eth0 nodad`,
    `-n ${NETNS} addr add ${IMDS6}/128 dev lo nodad`,
    `-n ${NETNS} -6 route add default via ${HERE[1]}`,
    `-6 route replace ${IMDS6}/128 via ${THERE[1]} dev ${LINK}`,
  )
  return [`${IMDS4}:80`, ...(six ? [`[${IMDS6}]:80`] : [])]
}

function takeDown(): void {
  // The routes are removed with the link, and the link with the namespace.
  attempt(`link del ${LINK}`)
  attempt(`netns del ${NETNS}`)
}

/** Something else answers there: on a cloud that is the node's own metadata service, which the node needs. */
function answersAlready(): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = createConnection({ host: IMDS4, port: 80, timeout: 2000 })
  socket.once('connect', () => resolve(true))
  socket.once('timeout', () => resolve(false))
  socket.once('error', () => resolve(false))
  return promise.finally(() => socket.destroy())
}

async function serve(): Promise<void> {
  if (process.env.REPLACE !== 'true' && (await answersAlready()))
    throw new Refused(
      `${IMDS4} answers on this node already, and something on it may need that. On EC2 pass --aws=real; where nothing needs it, --aws=stand-in`,
    )
  mkdirSync(DIRECTORY, { recursive: true })
  const settings = {
    imds: network(),
    sts: [`${THERE[0]}:80`],
    controlSocket: SOCKET,
    localIpv4: process.env.HOST_IP,
  }
  const command = ['netns', 'exec', NETNS, process.execPath, process.env.AWS_PROGRAM ?? '']
  const aws = spawn('ip', [...command, JSON.stringify(settings)], { stdio: ['pipe', 'pipe', 'inherit'] })
  aws.once('exit', () => {
    takeDown()
    process.exit(ending ? 0 : 1)
  })
  let ending = false
  process.on('SIGTERM', () => {
    ending = true
    aws.stdin?.end()
  })
  // The line by which it reports that it is ready. The roles are created again at every start, because a node may reboot.
  await once(aws.stdout, 'data')
  const roles: object[] = JSON.parse(process.env.ROLES ?? '[]')
  for (const role of roles) await call('putRole', JSON.stringify(role))
}

/** Calls one operation of the control; prints its result as JSON. */
async function call(name: string, json: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const outgoing = request({ socketPath: SOCKET, path: `/${name}`, method: 'POST' }, (response) => {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    response.on('error', reject)
    response.on('end', () => {
      const text = Buffer.concat(chunks).toString()
      if (response.statusCode === 200) resolve(text)
      else reject(new Error(`${name}: ${text}`))
    })
  })
  outgoing.on('error', reject)
  outgoing.end(json)
  return promise
}

function fail(error: unknown): void {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(error instanceof Refused ? REFUSED : 1)
}

if (mode === 'serve') serve().catch(fail)
else call(operation, argument).then((text) => process.stdout.write(text), fail)
