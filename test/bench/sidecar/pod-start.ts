/**
 * Runs inside a network namespace of its own (`unshare --net`), in which connections to the metadata addresses are refused as behind the node guard.
 * Starts pods on a node whose cores another pod keeps busy: the sidecar first, and the gate a second later, as the kubelet does. Prints
 * one JSON line of milliseconds for each pod that its last argument describes.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { NET_ADMIN_ONLY } from '../../firewall/guard-process.ts'
import { loopbackEnv, readyz, startBroker } from '../../sidecar/support/index.ts'
import { makePodNetwork } from '../../sidecar/support/pod-network.ts'
import { until } from '../../support/until.ts'
import {
  type Burners,
  benchGroups,
  burners,
  CONVERSIONS,
  type CpuGroup,
  enter,
  inside,
} from '../cpu-group.ts'
import { NODE_FLAGS } from './process.ts'
import type { Requests } from './requests.ts'

export type StartedPod = {
  readonly requests: Requests
  /** Millicores of a native sidecar of the pod's own that uses every core meanwhile; 0 if there is none. */
  readonly beside: number
  readonly rounds: number
}
/** Milliseconds; `whole` counts from the sidecar's start. */
export type PodStart = { readonly sidecar: number; readonly gate: number; readonly whole: number }

/** The pod that keeps the node busy requests 2 CPU, all that a node of two cores has. */
const BUSY_MILLIS = 2000
const CLIENT_SHARES = 131_072
const NODE_SHARES = 8192
/** The time that the kubelet takes from one init container to the next (docs/operations.md#cost). */
const KUBELET_MS = 1000
const BLOCK = `table inet guard {
  chain output {
    type filter hook output priority 0;
    ip daddr 169.254.169.254 tcp dport 80 reject with tcp reset
    ip6 daddr fd00:ec2::254 tcp dport 80 reject with tcp reset
  }
}`

type Place = {
  readonly sidecar: CpuGroup
  readonly gate: CpuGroup
  readonly beside: CpuGroup
  readonly pod: CpuGroup
}

let nextPort = 21_000

if (process.argv[1] === import.meta.filename) {
  const [, , directory = '', tokenFile = '', pods = '[]'] = process.argv
  makePodNetwork()
  execFileSync('nft', ['-f', '-'], { input: BLOCK })
  await startAll({ directory, bundle: `${directory}/sidecar.cjs`, tokenFile, remove() {} }, JSON.parse(pods))
}

async function startAll(
  workshop: Parameters<typeof loopbackEnv>[0],
  pods: readonly StartedPod[],
): Promise<void> {
  const groups = benchGroups()
  const leave = enter(groups.top.child('client', CLIENT_SHARES))
  const broker = await startBroker()
  const shares = CONVERSIONS['cgroup v1']
  const node = groups.top.child('node', NODE_SHARES)
  const others = burners(node.child('others', shares(BUSY_MILLIS)))
  const pod = node.child('pod', 2)
  const place: Place = {
    pod,
    sidecar: pod.child('sidecar', 2),
    gate: pod.child('gate', 2),
    beside: pod.child('beside', 2),
  }
  const native = burners(place.beside)
  try {
    others.run()
    for (const { requests, beside, rounds } of pods) {
      place.pod.setShares(shares(requests.pod))
      for (const name of ['sidecar', 'gate'] as const) {
        place[name].setShares(shares(requests[name]))
        place[name].limit(requests.limit)
      }
      place.beside.setShares(shares(beside))
      const starts: PodStart[] = []
      while (starts.length < rounds)
        starts.push(await onePod(workshop, broker.url, place, beside > 0 ? native : undefined))
      console.log(JSON.stringify(starts))
    }
  } finally {
    await Promise.all([others.end(), native.end(), broker.close()])
    leave()
    groups.remove()
  }
}

async function onePod(
  workshop: Parameters<typeof loopbackEnv>[0],
  brokerUrl: string,
  place: Place,
  native: Burners | undefined,
): Promise<PodStart> {
  const [port, health] = [nextPort++, nextPort++]
  execFileSync('nft', ['add table inet pod2iam_redirect; delete table inet pod2iam_redirect'])
  native?.run()
  const start = performance.now()
  const sidecar = run(place.sidecar, [process.execPath, ...NODE_FLAGS, workshop.bundle], {
    ...loopbackEnv(workshop, brokerUrl),
    POD2IAM_LISTEN_PORT: String(port),
    POD2IAM_HEALTH_PORT: String(health),
  })
  try {
    const isReady = async () => (await readyz(health).catch(() => undefined))?.ready === true
    // Polls often enough that the wait adds little to what is measured.
    const ready = until('the sidecar is ready', async () => (await isReady()) && performance.now(), {
      pollMs: 2,
    })
    await sleep(KUBELET_MS)
    const gateStart = performance.now()
    const flags = [`--sidecar-port=${port}`, `--wait-ready=http://127.0.0.1:${health}/readyz`]
    const command = [process.execPath, `${workshop.directory}/firewall.cjs`, 'redirect', ...flags]
    const gate = run(place.gate, [...NET_ADMIN_ONLY, ...command], { PATH: process.env.PATH })
    const [code] = await once(gate, 'close')
    const end = performance.now()
    if (code !== 0) throw new Error(`the gate ended with ${code}`)
    return { sidecar: (await ready) - start, gate: end - gateStart, whole: end - start }
  } finally {
    native?.rest()
    sidecar.kill('SIGKILL')
    await once(sidecar, 'close')
  }
}

function run(group: CpuGroup, command: readonly string[], env: NodeJS.ProcessEnv) {
  const [file, ...args] = inside(group, command)
  return spawn(file, args, { env, stdio: ['ignore', 'ignore', 'inherit'] })
}
