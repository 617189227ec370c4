/**
 * The watch over the injector's own pods. By it a replica knows during a rolling upgrade or rollback which other replicas get reviews,
 * too. A replica that cannot watch them uses its own settings.
 */
import type { Clock } from '../../common/clock.ts'
import type { Deps } from '../../common/deps.ts'
import { type Reflection, reflect, type Sink } from '../../common/kube/reflector.ts'
import type { Logger } from '../../common/log.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { effectiveSettings, peerKind, strictPeer } from './effective-settings.ts'
import { type Peer, type PeerKind, readPeer } from './peer.ts'

export type Peers = ReturnType<typeof watchPeers>

/** Where the injector's pods are, and the name of this process's pod. */
type OwnPods = { readonly namespace: string; readonly selector: string; readonly name: string }

/** How long a start waits for the first list: a replica that waited forever would block an upgrade. */
const SETTLE_MS = 10_000
/** The API server's own timeout: by then a pod that a replica mutated just before its end has been validated. */
const LINGER_MS = 60_000
/** How long the last known replicas count while the watch fails: a restart of the API server removes no replica. */
const HOLD_MS = 300_000
/** More than any Deployment of injectors has, even during overlapping rollouts. */
const MAX_PEERS = 200
const NO_PEERS: Readonly<Record<PeerKind, number>> = {
  same: 0,
  'other-settings': 0,
  strict: 0,
  unreadable: 0,
}
const NOT_ENDED = 'status.phase!=Succeeded,status.phase!=Failed'

/** Starts the watch; it ends with `deps.signal`. */
export function watchPeers(own: InjectionSettings, pods: OwnPods, deps: Deps<'get' | 'stream'>) {
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
    /** The settings for a review that arrives now. */
    settings: () => (contact.isLost() ? own : known.settings()),
    /** Whether the other replicas are known, or this one has waited long enough; before that it must not serve. */
    isSettled: () => hasWaited || known.isSettled(),
    counts: known.counts,
  }
}

/** Reports once that the watch fails, and again only after the API server has answered in between. */
function apiContact(clock: Clock, onLost: (problem: unknown) => void) {
  let contactAt: Reflection['contactAt'] = () => 0
  let reportedAt = 0
  return {
    follow(reflection: Reflection) {
      contactAt = reflection.contactAt
    },
    failed(problem: unknown) {
      if (reportedAt > contactAt()) return
      reportedAt = clock.now()
      onLost(problem)
    },
    isLost: () => reportedAt > contactAt() && clock.now() - contactAt() >= HOLD_MS,
  }
}

/** The known other replicas, and the settings that follow from them. */
function knownPeers(own: InjectionSettings, ownName: string, { clock, log }: Deps<'get' | 'stream'>) {
  const peers = new Map<string, Peer>()
  const gone = new Map<string, InjectionSettings>()
  const reported = new Set<string>()
  const logForm = formLogger(log)
  let now = own
  let isSettled = false

  const refresh = () => {
    const all = [...peers.values()]
    now = effectiveSettings(own, all, [...gone.values()])
    isSettled = true
    logForm(strictPeer(all))
  }
  const forget = (uid: string) => {
    const peer = peers.get(uid)
    peers.delete(uid)
    reported.delete(uid)
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
    if (!('problem' in peer.settings) || reported.has(peer.uid)) return
    reported.add(peer.uid)
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
    counts: () => countsByKind(peers.values(), own),
  }
}

function countsByKind(peers: Iterable<Peer>, own: InjectionSettings): Readonly<Record<PeerKind, number>> {
  const counts = { ...NO_PEERS }
  for (const peer of peers) counts[peerKind(peer, own)]++
  return counts
}

/** Logs whenever the release changes in whose form pods are written, given a replica that accepts nothing else. */
function formLogger(log: Pick<Logger, 'info'>) {
  let followed = ''
  return (strict: Peer | undefined) => {
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
}

/** For a replica that does not know which pods are the injector's: it counts as the only one. */
export function noPeers(own: InjectionSettings): Peers {
  return { settings: () => own, isSettled: () => true, counts: () => NO_PEERS }
}
