/** One node: its clock, its broker, and the pods that the kubelet starts on it. */
import { Problem } from '../../common/protocol.ts'
import { parseSettings } from '../../common/settings.ts'
import type { PodClaims } from '../../node-guard/broker/authenticate/claims.ts'
import type { tokenVerifier } from '../../node-guard/broker/authenticate/verify.ts'
import { type Broker, createBroker } from '../../node-guard/broker/broker.ts'
import { BROKER_SETTINGS } from '../../node-guard/broker/settings.ts'
import { silentLog } from '../support/log.ts'
import type { ApiServer, Collection } from './api-server.ts'
import type { Fleet } from './fleet-size.ts'
import { type NodeClock, nodeClock } from './node-clock.ts'
import { type PodPlace, podObject, type Sidecar, startSidecar, TOLERANCE_MS } from './pod.ts'
import { podToken } from './pod-token.ts'
import type { Span } from './span.ts'
import { imdsModel, type StsModel } from './sts.ts'
import type { Time } from './time.ts'

export type World = {
  readonly fleet: Fleet
  readonly time: Time
  readonly api: ApiServer
  readonly apiAway: readonly Span[]
  readonly sts: StsModel
  readonly namespaces: Collection
}

export type Node = {
  readonly clock: NodeClock
  /** Starts the node's broker and its pods within some seconds. */
  readonly boot: (pods: number, oldTokens: boolean) => void
  /** Removes the node and its pods. */
  readonly remove: () => void
  readonly sidecars: () => readonly Sidecar[]
}

/** Size of a pod's object on the wire: an injected pod of three containers and its managed fields. */
const POD_BYTES = 12_000
/** Milliseconds from the node's boot to the start of the broker and to a pod's sandbox: the least, and the spread. */
const BROKER_START = { least: 1000, spread: 5000 }
const POD_START = { least: 2000, spread: 20_000 }
/** Milliseconds that the kubelet takes to create the sandbox after it has reported the pod. */
const SANDBOX = { least: 700, spread: 1500 }
/** Milliseconds from then until the pod's status has an address: the kubelet looks at its containers every second. */
const REPORTED = { least: 300, spread: 1000 }
const quiet = () => {}
const uncounted = { inc: quiet }
const metrics = { events: uncounted, stsCalls: uncounted, cache: uncounted }

const some = ({ least, spread }: { readonly least: number; readonly spread: number }) =>
  least + spread * Math.random()

export function simulatedNode(index: number, world: World): Node {
  const { fleet, time, api, apiAway, sts, namespaces } = world
  const clock = nodeClock(time)
  const settings = brokerSettings(`node-${index}`, fleet)
  const claims = new Map<string, PodClaims>()
  const pods = api.collection(POD_BYTES)
  const kube = api.client({ '/api/v1/pods': pods, '/api/v1/namespaces': namespaces })
  let broker: Broker | undefined
  let generation = 0
  let sidecars: Sidecar[] = []

  const startBroker = () => {
    const deps = { kube, imds: imdsModel(), clock, log: silentLog, connectSts: () => sts.connect(index) }
    broker = createBroker(settings, { ...deps, verifier: verifierOf(claims) }, metrics)
  }
  const startPod = (serial: number, oldTokens: boolean) => {
    const born = generation
    const place: PodPlace = {
      // Names are counted over all nodes, so that every node has pods of many namespaces.
      namespace: namespaceName((index * 7 + serial) % fleet.namespaces),
      name: `p${serial}-${born}`,
      uid: `${index}-${serial}-${born}`,
      nodeName: settings.nodeName,
      ip: `10.${serial % 250}.0.2`,
    }
    claims.set(place.uid, {
      namespace: place.namespace,
      podName: place.name,
      podUid: place.uid,
      serviceAccount: 'default',
      nodeName: place.nodeName,
    })
    api.put(pods, place.name, podObject(place, time.now(), false))
    time.after(some(SANDBOX), () => {
      if (generation !== born) return
      time.after(
        some(REPORTED),
        ifStill(born, () => api.put(pods, place.name, podObject(place, time.now(), true))),
      )
      const age = oldTokens ? Math.random() * Math.min(fleet.tokenSeconds * 0.8, 86_400) * 1000 : 0
      const token = podToken({ now: time.now, wall: clock.now }, fleet.tokenSeconds, age, apiAway)
      const handlers = () => broker?.handlers
      sidecars.push(startSidecar(place, { time, clock, token, handlers, log: silentLog }))
    })
  }
  const ifStill = (born: number, action: () => void) => () => {
    if (generation === born) action()
  }
  return {
    clock,
    boot: (count, oldTokens) => {
      time.after(some(BROKER_START), ifStill(generation, startBroker))
      for (let serial = 0; serial < count; serial++)
        time.after(
          some(POD_START),
          ifStill(generation, () => startPod(serial, oldTokens)),
        )
    },
    remove: () => {
      generation++
      broker?.stop()
      broker = undefined
      for (const sidecar of sidecars) sidecar.stop()
      sidecars = []
      for (const name of [...pods.objects.keys()]) api.remove(pods, name)
      claims.clear()
    },
    sidecars: () => sidecars,
  }
}

export const namespaceName = (index: number) => `team-${index}`

function brokerSettings(nodeName: string, { stsQps, sessionSeconds }: Fleet) {
  const argv = [
    ...['--node-name', nodeName, '--sts-qps', String(stsQps), '--require-firewall=false'],
    ...['--session-duration', String(sessionSeconds), '--region', 'eu-central-1'],
  ]
  const result = parseSettings(BROKER_SETTINGS, { argv, env: {} })
  if (!result.ok) throw new Error(result.errors.join(' '))
  return result.settings
}

/** Does what `authenticate/verify.ts` does, without the signature: the keys are known, and times are checked by the node's clock. */
function verifierOf(claims: ReadonlyMap<string, PodClaims>): typeof tokenVerifier {
  return (keys, _audience, clock) => async (authorization) => {
    if (!keys.current()) throw new Problem('busy', 'keys are not known', { retryAfter: 2 })
    const [uid = '', issued, expires] = (authorization ?? '').split(' ')
    const now = clock.now()
    const found = claims.get(uid)
    // Kubernetes sets `nbf` to when the token was issued.
    if (!found || now > Number(expires) + TOLERANCE_MS || now < Number(issued) - TOLERANCE_MS)
      throw new Problem('token-invalid', 'the token has expired or is not valid yet')
    return found
  }
}
