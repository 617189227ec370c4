/** The broker without its listeners: its parts in the order in which a request passes them, and the connections between them. */
import type { SteadyClock } from '../../common/clock.ts'
import { whyUnguarded } from '../../common/firewall-state.ts'
import type { Kube } from '../../common/kube/client.ts'
import type { Logger } from '../../common/log.ts'
import { Problem } from '../../common/protocol.ts'
import { auditTrail } from './audit/audit.ts'
import { authenticator } from './authenticate/authenticate.ts'
import { type SigningKeys, signingKeys } from './authenticate/keys.ts'
import { tokenVerifier } from './authenticate/verify.ts'
import { webIdentityChecker } from './authenticate/web-identity.ts'
import { type Authorizer, authorizer } from './authorize/authorize.ts'
import { type Assumers, assumersOf } from './aws/assumers.ts'
import { type Federation, stsProblem } from './aws/explain.ts'
import type { stsClient, webIdentityClient } from './aws/sts-client.ts'
import type { Imds } from './instance/imds.ts'
import { metadataSnapshot } from './instance/snapshot.ts'
import { writeHostPodsOnChange } from './kubernetes/host-pods.ts'
import { limitedReader } from './kubernetes/limited-reader.ts'
import { liveReads } from './kubernetes/live-reads.ts'
import { type Namespaces, namespaceStore } from './kubernetes/namespaces.ts'
import { hasEnded, podRecord } from './kubernetes/pod.ts'
import { type Pods, podStore } from './kubernetes/pods.ts'
import { isOfAccount, type ServiceAccounts, serviceAccounts } from './kubernetes/service-accounts.ts'
import { type ClusterWatches, watchCluster } from './kubernetes/watches.ts'
import type { BrokerMetrics } from './metrics.ts'
import { brokerHandlers } from './server/handlers.ts'
import { type Grant, grantOf, sessionKey } from './sessions/entries.ts'
import { type Sessions, type SessionsDeps, sessionStore } from './sessions/sessions.ts'
import { type StsQueue, stsQueue } from './sessions/sts-queue.ts'
import { type WarmUp, warmUp } from './sessions/warm-up.ts'
import { type BrokerSettings, entitlementSettings } from './settings.ts'

/** The outside world as the broker uses it. */
export type BrokerDeps = {
  readonly kube: Kube
  readonly imds: Imds
  readonly clock: SteadyClock
  readonly log: Logger
  /** Creates the STS client; by default that of the AWS SDK. */
  readonly connectSts?: typeof stsClient
  /** The same for calls with web identity. */
  readonly connectWebIdentity?: typeof webIdentityClient
  /** Creates the token checker; by default it checks signatures. */
  readonly verifier?: typeof tokenVerifier
}

/** Counters of decisions. */
type DecisionMetrics = {
  readonly [Name in 'events' | 'stsCalls' | 'cache']: Pick<BrokerMetrics[Name], 'inc'>
}

export type Broker = ReturnType<typeof createBroker>

/** @param environmentRegion used if no setting names a Region; the metadata service is asked last */
export function createBroker(
  settings: BrokerSettings,
  deps: BrokerDeps,
  metrics: DecisionMetrics,
  environmentRegion?: string,
) {
  const { kube, imds, clock, log, verifier = tokenVerifier } = deps
  const { webIdentityAudience, webIdentityFurtherAudiences: further } = settings
  const { nodeName, roleKey, stateDir } = settings
  const region = settings.region ?? environmentRegion
  const stopping = new AbortController()
  const { signal } = stopping
  const running = { kube, imds, clock, log, signal }

  const trail = auditTrail(deps, nodeName, (outcome) => metrics.events.inc({ outcome }))
  const { pods, namespaces, reads, accounts } = clusterKnowledge(settings, running)
  const keys = signingKeys(running, settings.issuer)
  const authenticate = authenticator({
    ...{ pods, reads, clock, nodeName, roleKey, onRefused: trail.onRefused, onRejected: trail.onRejected },
    verify: verifier(keys, settings.audience, clock),
    ownAddresses: settings.listen,
  })
  const assumers = assumersOf({ ...settings, region }, { ...running, ...deps }, (outcome) =>
    metrics.stsCalls.inc({ outcome }),
  )
  const policy = authorizer({
    ...{ namespaces, reads, accounts, roles: assumers.roles },
    settings: entitlementSettings(settings),
    whyUnguarded: () => whyUnguarded(stateDir, clock.now()),
  })
  const queue = stsQueue({ perSecond: settings.stsQps, concurrency: settings.stsConcurrency }, clock)
  const sessions = sessionStore({
    ...{ scope: settings.sessionScope, assume: assumers.assume, queue, clock, signal },
    isStillValid: (grant) => isStillGranted(grant, pods, policy),
    explain: explainer(keys, assumers, { audience: webIdentityAudience, further }),
    on: {
      issued: trail.onIssued,
      failed: ({ pod }, problem) => trail.onRefused(pod, problem),
      cache: (outcome) => metrics.cache.inc({ outcome }),
    },
  })
  const warm = warmUp({ pods, entitlement: policy.entitlement, sessions, roleKey, load: accounts?.load })
  const snapshot = metadataSnapshot(imds, { allowed: settings.metadataAllow, region }, running)

  keys.start()
  assumers.start(reviewOnChange({ pods, namespaces, accounts }, sessions, warm))
  const watches = watchCluster({ pods, namespaces }, nodeName, running)
  writeHostPodsOnChange(settings, { ...running, pods, podsSynced: watches.podsSynced })

  return {
    handlers: brokerHandlers({
      ...{ ...trail, authenticate, authorizer: policy, sessions, snapshot },
      checkWebIdentity: webIdentityChecker(keys, [webIdentityAudience, ...further], clock, nodeName),
    }),
    /** A code and a sentence while it cannot answer yet, or undefined. */
    whyNotReady: () => whyNotReady(keys, watches, assumers),
    observed: observedOf(pods, sessions, queue, watches),
    stop: () => {
      stopping.abort()
      kube.close()
      imds.close()
    },
  }
}

/** What the checks know of pods, namespaces and service accounts, and how they learn more. */
function clusterKnowledge(
  { nodeName, roleKey, serviceAccountRoles }: BrokerSettings,
  { kube, clock }: Pick<BrokerDeps, 'kube' | 'clock'>,
) {
  const pods = podStore((object) => podRecord(object, roleKey))
  const namespaces = namespaceStore(clock)
  const reads = liveReads({ pods, namespaces, live: limitedReader(kube, clock), clock, nodeName, roleKey })
  return { pods, namespaces, reads, accounts: serviceAccountRoles ? serviceAccounts(kube, clock) : undefined }
}

/** Explains a failure of STS by what is known of the caller. */
function explainer(
  keys: SigningKeys,
  assumers: Assumers,
  audiences: Omit<Federation, 'issuer'>,
): SessionsDeps['explain'] {
  return (failure, thrown, context) =>
    stsProblem(failure, thrown, {
      ...{ ...context, callerArn: assumers.callerArn() },
      federation: { issuer: keys.current()?.issuer, ...audiences },
    })
}

function observedOf(pods: Pods, sessions: Sessions, queue: StsQueue, watches: ClusterWatches) {
  const { size, soonestExpiry, overdue } = sessions
  return {
    ...{ pods: pods.size, sessions: size, soonestExpiry, overdue },
    ...{ waitingForSts: queue.waiting, watchAges: watches.ages, leftOut: watches.leftOut },
  }
}

/** Whether the same would be granted now, according to the watches. */
function isStillGranted(grant: Grant, pods: Pods, policy: Pick<Authorizer, 'entitlement'>): boolean {
  const pod = pods.get(grant.pod.uid)
  if (!pod || hasEnded(pod)) return false
  try {
    return sessionKey(grantOf(pod, policy.entitlement(pod)), 'pod') === sessionKey(grant, 'pod')
  } catch (error) {
    if (error instanceof Problem) return false
    throw error
  }
}

/** Reviews the affected grants whenever something changes on which decisions depend. Returns what reviews all of them. */
function reviewOnChange(
  on: {
    readonly pods: Pods
    readonly namespaces: Namespaces
    readonly accounts: ServiceAccounts | undefined
  },
  sessions: Sessions,
  warm: WarmUp,
): () => void {
  on.pods.subscribe({
    gone: sessions.dropPod,
    changed: (changed) => {
      sessions.review(({ pod }) => pod.uid === changed.uid)
      warm.pod(changed)
    },
  })
  const onNamespace = (name: string) => {
    sessions.review(({ pod }) => pod.namespace === name)
    warm.namespace(name)
  }
  on.namespaces.subscribe(onNamespace)
  on.accounts?.subscribe((account) => {
    // Only its own pods: tenants change it, and every pod's judgement may cost milliseconds.
    sessions.review(({ pod }) => isOfAccount(on.pods.get(pod.uid), account))
    warm.account(account)
  })
  return () => {
    sessions.review(() => true)
    warm.all()
  }
}

function whyNotReady(keys: SigningKeys, watches: ClusterWatches, assumers: Assumers) {
  if (!keys.current())
    return { code: 'keys-unknown', detail: 'the API server’s token signing keys are not known' }
  const unsynced = watches.unsynced()
  if (unsynced) return { code: 'watch-not-synced', detail: `the first list of ${unsynced} has not arrived` }
  return assumers.whyUnknown()
}
