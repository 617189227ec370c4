/**
 * The watch over the injector's own pods, by which a replica knows in a rolling upgrade or rollback with whom it shares the
 * reviews. A replica that cannot watch them serves by its own settings.
 */

import type { Clock } from '../../common/clock.ts'
import { type Reflection, reflect, type Sink } from '../../common/kube/reflector.ts'
import type { Logger } from '../../common/log.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import type { WatchDependencies } from '../kubernetes/watch-dependencies.ts'
import { PEER_KINDS, type Peer, type PeerKind, readPeer } from './peer.ts'
import { kindOf, settingsAmong, strictPeer } from './settings-among.ts'

export type Peers = {
  /** The settings of a review that comes now. */
  readonly settings: () => InjectionSettings
  /** Whether the others are known, or have been waited for long enough: before it this replica must not serve. */
  readonly isSettled: () => boolean
  readonly counts: () => Readonly<Record<PeerKind, number>>
}

/** Where the injector's pods are, and which of them this process is in. */
export type OwnPods = { readonly namespace: string; readonly selector: string; readonly name: string }

/** For the first list, at the start: a replica that waited for ever for it would keep an upgrade from going on. */
const SETTLE_MS = 10_000
/** The API server's own bound on a request: what a replica mutated right before it ended is judged by then. */
const LINGER_MS = 60_000
/** So long what was known last holds while the watch fails: an API server that restarts takes no replica away. */
const HOLD_MS = 300_000
/** More than any Deployment of injectors has, rollouts on top of each other included. */
const MAX_PEERS = 200
const NOT_ENDED = 'status.phase!=Succeeded,status.phase!=Failed'

/** Starts the watch; it ends with `deps.signal`. */
export function watchPeers(own: InjectionSettings, pods: OwnPods, deps: WatchDependencies): Peers {
  const { clock, log } = deps
  const known = knownPeers(own, pods.name, deps)
  const contact = apiContact(clock, (problem) =>
    log.warn(
      `the injector's other replicas are not known, so a rolling upgrade may refuse pods: it must be able to list and watch pods in namespace ${pods.namespace}`,
      { problem },
    ),
  )
  // The reflector warns of every failure from the third in a row on.
  const quiet: Logger = { ...log, warn: (_, fields = {}) => contact.failed(fields.error) }
  const path = `/api/v1/namespaces/${encodeURIComponent(pods.namespace)}/pods`
  const query = { labelSelector: pods.selector, fieldSelector: NOT_ENDED }
  const reflection = reflect({ path, query, sink: known.sink }, { ...deps, log: quiet })
  contact.follow(reflection)
  let hasWaited = false
  clock.after(SETTLE_MS, () => {
    hasWaited = true
    if (!known.isSettled()) contact.failed('no list of them has come')
  })
  return {
    settings: () => (contact.isLost() ? own : known.settings()),
    isSettled: () => hasWaited || known.isSettled(),
    counts: known.counts,
  }
}

/** Says once that the API server cannot be asked, until it says something again. */
function apiContact(clock: Clock, complain: (problem: unknown) => void) {
  let contactAt: Reflection['contactAt'] = () => 0
  let complainedAt = 0
  return {
    follow(reflection: Reflection) {
      contactAt = reflection.contactAt
    },
    failed(problem: unknown) {
      if (complainedAt > contactAt()) return
      complainedAt = clock.now()
      complain(problem)
    },
    isLost: () => complainedAt > contactAt() && clock.now() - contactAt() >= HOLD_MS,
  }
}

/** The other replicas, as far as they are known, and the settings of a review because of them. */
function knownPeers(own: InjectionSettings, ownName: string, { clock, log }: WatchDependencies) {
  const peers = new Map<string, Peer>()
  const gone = new Map<string, InjectionSettings>()
  const complained = new Set<string>()
  let now = own
  let followed = ''
  let isSettled = false

  const refresh = () => {
    const all = [...peers.values()]
    now = settingsAmong(own, all, [...gone.values()])
    isSettled = true
    const strict = strictPeer(all)
    if ((strict?.uid ?? '') === followed) return
    followed = strict?.uid ?? ''
    if (strict === undefined)
      log.info('writes in its own way again: no replica of an earlier release is left')
    else
      log.info(
        'writes as an earlier release does while its replica is there, which would refuse anything else',
        { replica: strict.name, image: strict.image },
      )
  }
  const forget = (uid: string) => {
    const peer = peers.get(uid)
    peers.delete(uid)
    complained.delete(uid)
    if (peer === undefined || 'problem' in peer.settings) return
    gone.set(uid, peer.settings)
    clock.after(LINGER_MS, () => {
      gone.delete(uid)
      refresh()
    })
  }
  const put = (peer: Peer) => {
    if (peer.name === ownName) return
    if (peer.hasEnded || (!peers.has(peer.uid) && peers.size >= MAX_PEERS)) return forget(peer.uid)
    peers.set(peer.uid, peer)
    if (!('problem' in peer.settings) || complained.has(peer.uid)) return
    complained.add(peer.uid)
    log.warn('the settings of another replica cannot be read, so its pods may be refused while it is there', {
      replica: peer.name,
      problem: peer.settings.problem.slice(0, 1024),
    })
  }
  const sink: Sink<Peer> = {
    project: readPeer,
    keep: ({ hasEnded }, kept) => !hasEnded && kept < MAX_PEERS,
    replace(all) {
      const listed = new Set(all.map(({ uid }) => uid))
      for (const uid of [...peers.keys()]) if (!listed.has(uid)) forget(uid)
      for (const peer of all) put(peer)
      refresh()
    },
    upsert(peer) {
      put(peer)
      refresh()
    },
    remove({ uid }) {
      forget(uid)
      refresh()
    },
  }
  return {
    sink,
    settings: () => now,
    isSettled: () => isSettled,
    counts() {
      const counts: Record<PeerKind, number> = { same: 0, 'other-settings': 0, strict: 0, unreadable: 0 }
      for (const peer of peers.values()) counts[kindOf(peer, own)]++
      return counts
    },
  }
}

/** Where it is not told which pods are the injector's: this replica is the only one. */
export function noPeers(own: InjectionSettings): Peers {
  const counts = Object.fromEntries(PEER_KINDS.map((kind) => [kind, 0])) as Record<PeerKind, number>
  return { settings: () => own, isSettled: () => true, counts: () => counts }
}
