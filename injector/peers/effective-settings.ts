/**
 * The settings for a review while other replicas serve, too: a pod that one of them mutated is validated by another one.
 *
 *   other replicas                            → this replica writes      → and also accepts
 *   none, or all with the same settings       → by its own settings      →
 *   other settings, judge by form             → by its own settings, and → their images, role keys, service account keys and
 *                                               theirs where its own lack  credential sources, which namespaces may name
 *                                               service account roles
 *   one accepts only its own writing (0.1.0)  → what that one would      → all of these, including its own
 *
 * docs/decisions/0098 compares the alternatives.
 */
import type { InjectionSettings } from '../injection-settings.ts'
import { sameJson } from '../json.ts'
import type { Peer, PeerKind } from './peer.ts'

type Readable = Peer & { readonly settings: InjectionSettings }

const isReadable = (peer: Peer): peer is Readable => !('problem' in peer.settings)

/**
 * The settings by which this replica judges and writes.
 *
 * @param gone settings of replicas that have just ended: pods that they mutated may not have been validated yet
 * @returns `own` itself where no other replica makes a difference
 */
export function effectiveSettings(
  own: InjectionSettings,
  peers: readonly Peer[],
  gone: readonly InjectionSettings[] = [],
): InjectionSettings {
  const strict = strictPeer(peers)
  const serving = [own, ...peers.filter(isReadable).map(({ settings }) => settings)]
  const writes =
    strict === undefined
      ? { ...own, serviceAccountKey: accountKeyAmong(serving) }
      : writesAs(strict.settings, own)
  const all = [...serving, ...gone]
  const others = (value: (settings: InjectionSettings) => string) =>
    [...new Set(all.map(value))].filter((one) => one !== value(writes))
  const among = {
    ...writes,
    // A replica that writes web identity only because another one has it has no audience of its own.
    webIdentityAudience: (all.find(hasWebIdentity) ?? writes).webIdentityAudience,
    otherCredentialSources: [
      ...new Map(all.map(({ credentialSources: list }) => [list.join(), list])).values(),
    ].filter((list) => list.join() !== writes.credentialSources.join()),
    otherServiceAccountKeys: [...new Set(all.map(({ serviceAccountKey }) => serviceAccountKey))].filter(
      (key) => key !== writes.serviceAccountKey,
    ),
    otherRoleKeys: others(({ roleKey }) => roleKey),
    otherSidecarImages: others(({ sidecarImage }) => sidecarImage),
    otherNodeGuardImages: others(({ nodeGuardImage }) => nodeGuardImage),
  }
  return sameSettings(among, own) ? own : among
}

/**
 * Roles of service accounts are on while any replica has them on. Otherwise a pod could get the default role instead of its account's, or a
 * role that its account's list forbids, because of the replica that happens to get its review.
 */
const accountKeyAmong = (serving: readonly InjectionSettings[]) =>
  serving.map(({ serviceAccountKey }) => serviceAccountKey).find((key) => key !== undefined)

const hasWebIdentity = ({ credentialSources }: InjectionSettings) =>
  credentialSources.includes('web-identity')

/** The strict replica whose form is written: of several, the newest that is not terminating; they refuse each other's pods anyway. */
export function strictPeer(peers: readonly Peer[]): Readable | undefined {
  const strict = peers.filter(isReadable).filter(({ isStrict }) => isStrict)
  const rank = ({ isTerminating, createdAt, uid }: Peer) => `${Number(!isTerminating)} ${createdAt} ${uid}`
  return strict.reduce<Readable | undefined>(
    (best, one) => (best === undefined || rank(one) > rank(best) ? one : best),
    undefined,
  )
}

export function peerKind(peer: Peer, own: InjectionSettings): PeerKind {
  if (!isReadable(peer)) return 'unreadable'
  if (peer.isStrict) return 'strict'
  return sameSettings(peer.settings, own) ? 'same' : 'other-settings'
}

/**
 * Takes over everything that is written into containers and volumes. Settings that decide whether a pod may have what it asks for
 * (policy, default role, bounds, pods on the host network) stay this replica's own: they are not written, so no replica compares
 * them, and an old release must not permit what its successor forbids. The role key is taken over, because a replica with another
 * one finds another identity, or none, in the same pod.
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
    // It would refuse these: until it is gone, pods get their roles with the node's and no container credentials, and pods with session
    // policies are refused.
    mayWriteNewFields: false,
    roleKey: theirs.roleKey,
    serviceAccountKey: theirs.serviceAccountKey,
  }
}

const sameSettings = (one: InjectionSettings, other: InjectionSettings) =>
  sameJson(JSON.parse(JSON.stringify(one)), JSON.parse(JSON.stringify(other)))
