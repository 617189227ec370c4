/**
 * The settings of a review while other replicas serve, too: what one has mutated, another judges.
 *
 *   the others                                → this replica writes      → and takes for its own kind, besides
 *   none, or all with the same settings       → as it is set             →
 *   other settings, judge by form             → as it is set             → their images, their role keys
 *   one of them judges to the letter (0.1.0)  → as that one would        → all images and role keys, its own included
 *
 * docs/decisions/0098 weighs the ways.
 */

import type { InjectionSettings } from '../injection-settings.ts'
import { sameJson } from '../json.ts'
import type { Peer, PeerKind } from './peer.ts'

type Readable = Peer & { readonly settings: InjectionSettings }

const isReadable = (peer: Peer): peer is Readable => !('problem' in peer.settings)

/**
 * @param gone settings of replicas that were there a moment ago: what they mutated may not have been judged yet
 * @returns `own` itself where no other replica makes a difference
 */
export function settingsAmong(
  own: InjectionSettings,
  peers: readonly Peer[],
  gone: readonly InjectionSettings[] = [],
): InjectionSettings {
  const strict = strictPeer(peers)
  const writes = strict === undefined ? own : writesAs(strict.settings, own)
  const all = [own, ...peers.filter(isReadable).map(({ settings }) => settings), ...gone]
  const others = (value: (settings: InjectionSettings) => string) =>
    [...new Set(all.map(value))].filter((one) => one !== value(writes))
  const among = {
    ...writes,
    otherRoleKeys: others(({ roleKey }) => roleKey),
    otherSidecarImages: others(({ sidecarImage }) => sidecarImage),
    otherNodeGuardImages: others(({ nodeGuardImage }) => nodeGuardImage),
  }
  return sameSettings(among, own) ? own : among
}

/** The replica to write like: of several that differ, the newest that is there to stay; they refuse each other's pods anyway. */
export function strictPeer(peers: readonly Peer[]): Readable | undefined {
  const strict = peers.filter(isReadable).filter(({ isStrict }) => isStrict)
  const rank = ({ isTerminating, createdAt, uid }: Peer) => `${Number(!isTerminating)} ${createdAt} ${uid}`
  return strict.reduce<Readable | undefined>(
    (best, one) => (best === undefined || rank(one) > rank(best) ? one : best),
    undefined,
  )
}

export function kindOf(peer: Peer, own: InjectionSettings): PeerKind {
  if (!isReadable(peer)) return 'unreadable'
  if (peer.isStrict) return 'strict'
  return sameSettings(peer.settings, own) ? 'same' : 'other-settings'
}

/**
 * Everything that stands in the containers and volumes. What decides whether a pod may have what it asks for (policy, default role,
 * bounds, pods on the host network) stays this replica's own: none of it is written, so nobody compares it, and a release that is
 * being left must not loosen what its successor forbids. The role key is part of it: whoever judges by another finds another
 * identity, or none, in the same pod.
 */
function writesAs(theirs: InjectionSettings, own: InjectionSettings): InjectionSettings {
  return {
    ...own,
    sidecarImage: theirs.sidecarImage,
    nodeGuardImage: theirs.nodeGuardImage,
    imagePullPolicy: theirs.imagePullPolicy,
    resources: theirs.resources,
    redirect: theirs.redirect,
    start: theirs.start,
    gateProof: theirs.gateProof,
    gateAcceptDrop: theirs.gateAcceptDrop,
    imdsTokens: theirs.imdsTokens,
    startupGate: theirs.startupGate,
    sidecarLogLevel: theirs.sidecarLogLevel,
    tokenExpirationSeconds: theirs.tokenExpirationSeconds,
    roleKey: theirs.roleKey,
  }
}

const sameSettings = (one: InjectionSettings, other: InjectionSettings) =>
  sameJson(JSON.parse(JSON.stringify(one)), JSON.parse(JSON.stringify(other)))
