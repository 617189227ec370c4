/**
 * How long whole fetches of credentials take while the app uses every core. The sidecar and the app are in groups with the weights
 * of what the injector adds and the app requests; the client and the broker are in a third group with a great weight, so that only
 * the sidecar's waiting is measured.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { readyz } from '../../sidecar/support/index.ts'
import { until } from '../../support/until.ts'
import {
  type BenchGroups,
  benchGroups,
  burners,
  CONVERSIONS,
  type Conversion,
  enter,
  machineLoad,
} from '../cpu-group.ts'
import { opened } from '../load.ts'
import { type Figure, median, quantile } from '../report.ts'
import { type SidecarOptions, type Started, spawnSidecar } from './process.ts'
import { nowAndBefore, type Requests } from './requests.ts'
import { wholeFetch } from './whole-fetch.ts'

const PODS = [100, 1000, 2000, 8000]
const FETCHES = 50
/** The number of fetches of settings that are only compared: these take seconds each. */
const FEW = 15
const TARGET_S = 0.5
const POD_SHARES = 8192
const CLIENT_SHARES = 131_072

type Fetches = { readonly cold: readonly number[]; readonly warm: readonly number[] }

export async function starvedFigures(
  options: SidecarOptions,
  tell: (what: string) => void,
): Promise<readonly Figure[]> {
  let groups: BenchGroups
  try {
    groups = benchGroups()
  } catch (error) {
    const note = `left out: ${error instanceof Error ? error.message : String(error)}`
    return [{ name: 'the app takes every core', value: undefined, unit: 's', note }]
  }
  const leave = enter(groups.top.child('client', CLIENT_SHARES))
  const figures: Figure[] = []
  try {
    const pod = groups.top.child('pod', POD_SHARES)
    const places = { app: pod.child('app', 2), sidecar: pod.child('sidecar', 2) }
    const app = burners(places.app)
    const measure = async (requests: Requests, conversion: Conversion, count: number): Promise<Fetches> => {
      const shares = CONVERSIONS[conversion]
      places.app.setShares(shares(requests.app))
      places.sidecar.setShares(shares(requests.sidecar))
      places.sidecar.limit(requests.limit)
      const here = { ...options, cgroupProcs: places.sidecar.procs }
      return { cold: await coldFetches(here, app, count), warm: await warmFetches(here, app, count) }
    }
    try {
      for (const millis of PODS) {
        const [now, before] = nowAndBefore(millis)
        const runs: readonly (readonly [Conversion, Requests | undefined, number])[] = [
          ['cgroup v1', now, FETCHES],
          ['cgroup v1', before?.sidecar === now?.sidecar ? undefined : before, FEW],
          ['cgroup v2', now, FEW],
          ['cgroup v2, newer runc', now, FEW],
        ]
        for (const [conversion, requests, count] of runs) {
          if (requests === undefined) continue
          const which = `pod of ${millis / 1000} CPU, sidecar of ${requests.sidecar}m, ${conversion}`
          tell(`the app takes every core: ${which}`)
          figures.push(...described(which, await measure(requests, conversion, count), requests === now))
        }
      }
    } finally {
      await app.end()
    }
    return figures
  } finally {
    leave()
    groups.remove()
  }
}

/** The first fetch of a new process each; it has started while the app was idle, because apps start after it. */
async function coldFetches(options: SidecarOptions, app: ReturnType<typeof burners>, count: number) {
  const seconds: number[] = []
  while (seconds.length < count)
    seconds.push(...(await beside(options, app, async (sidecar) => [await timedFetch(sidecar.port)])))
  return seconds
}

/** All fetches of one process, at moments that are not related to each other. */
const warmFetches = (options: SidecarOptions, app: ReturnType<typeof burners>, count: number) =>
  beside(options, app, async ({ port }) => {
    const seconds: number[] = []
    for (let index = -3; index < count; index++) {
      await sleep(20 + Math.random() * 80)
      const one = await timedFetch(port)
      if (index >= 0) seconds.push(one)
    }
    return seconds
  })

/** Starts a sidecar, waits until it is ready, then lets the app work until `fetch` is done. */
async function beside(
  options: SidecarOptions,
  app: ReturnType<typeof burners>,
  fetch: (sidecar: Started) => Promise<number[]>,
): Promise<number[]> {
  const sidecar = await spawnSidecar(options)
  try {
    await until('the sidecar is ready', () =>
      readyz(sidecar.healthPort).then(
        ({ ready }) => ready,
        () => false,
      ),
    )
    app.run()
    await sleep(100 + Math.random() * 100)
    return await fetch(sidecar)
  } finally {
    app.rest()
    await sidecar.end()
  }
}

/** Seconds; of a failed fetch, until it failed: an answer that takes ten seconds. */
async function timedFetch(port: number): Promise<number> {
  const start = performance.now()
  const socket = await opened(port)
  await wholeFetch(socket).catch(() => undefined)
  socket.destroy()
  return (performance.now() - start) / 1000
}

function described(which: string, fetches: Fetches, isDefault: boolean): Figure[] {
  return (['cold', 'warm'] as const).map((kind) => {
    const seconds = fetches[kind]
    const parts = [`median ${median(seconds).toFixed(3)}`, `p90 ${quantile(seconds, 0.9).toFixed(3)}`]
    return {
      name: `the app takes every core, ${kind}: ${which}`,
      value: Math.max(...seconds),
      unit: 's',
      ...(isDefault ? { target: TARGET_S } : {}),
      note: `worst of ${seconds.length}; ${parts.join(', ')}; ${machineLoad()}`,
    }
  })
}
