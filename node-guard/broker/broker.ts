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
import { stsProblem } from './aws/explain.ts'
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
import { stsQueue } from './sessions/queue.ts'
import { type Sessions, sessionStore } from './sessions/sessions.ts'
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

type NotReady = { readonly code: string; readonly detail: string }

export type Broker = ReturnType<typeof createBroker>

/** @param environmentRegion used if no setting names a Region; the metadata service is asked last */
export function createBroker(
  settings: BrokerSettings,
  deps: BrokerDeps,
  metrics: DecisionMetrics,
  environmentRegion?: string,
) {
  const { kube, imds, clock, log, verifier = tokenVerifier } = deps
  const { nodeName, roleKey, audience, stateDir, stsQps: perSecond, stsConcurrency: concurrency } = settings
  const region = settings.region ?? environmentRegion
  const stopping = new AbortController()
  const running = { kube, imds, clock, log, signal: stopping.signal }

  const { onIssued, onRefused, onRejected } = auditTrail(deps, nodeName, (outcome) =>
    metrics.events.inc({ outcome }),
  )
  const pods = podStore((object) => podRecord(object, roleKey))
  const namespaces = namespaceStore(clock)
  const reads = liveReads({ pods, namespaces, live: limitedReader(kube, clock), clock, nodeName, roleKey })
  const accounts = settings.serviceAccountRoles ? serviceAccounts(kube, clock) : undefined
  const keys = signingKeys(running, settings.issuer)
  const verify = verifier(keys, audience, clock)
  const known = { verify, pods, reads, clock, nodeName, roleKey, ownAddresses: settings.listen }
  const authenticate = authenticator({ ...known, onRefused, onRejected })

  const assumers = assumersOf({ ...settings, region }, { ...running, ...deps }, (outcome) =>
    metrics.stsCalls.inc({ outcome }),
  )
  const policy = authorizer({
    ...{ namespaces, reads, accounts, roles: assumers.roles, onRefused },
    settings: entitlementSettings(settings),
    whyUnguarded: () => whyUnguarded(stateDir, clock.now()),
  })
  const queue = stsQueue({ perSecond, concurrency }, clock)
  const sessions = sessionStore({
    ...{ scope: settings.sessionScope, assume: assumers.assume, queue, clock },
    isStillValid: (grant) => isStillGranted(grant, pods, policy),
    explain: (failure, thrown, context) =>
      stsProblem(failure, thrown, {
        ...context,
        callerArn: assumers.callerArn(),
        federation: { issuer: keys.current()?.issuer, audience: settings.webIdentityAudience },
      }),
    on: {
      issued: onIssued,
      failed: ({ pod }, problem) => onRefused(pod, problem),
      cache: (outcome) => metrics.cache.inc({ outcome }),
    },
  })
  const warm = warmUp({ pods, entitlement: policy.entitlement, sessions, roleKey, load: accounts?.load })
  const snapshot = metadataSnapshot(imds, { allowed: settings.metadataAllow, region }, running)
  reviewOnChange({ pods, namespaces, accounts, assumers }, sessions, warm)
  const watches = watchCluster({ pods, namespaces }, nodeName, running)
  writeHostPodsOnChange({ pods, podsSynced: watches.podsSynced, settings }, running)

  return {
    handlers: brokerHandlers({
      ...{ authenticate, authorizer: policy, sessions, snapshot, onRefused, onRejected },
      checkWebIdentity: webIdentityChecker(keys, settings.webIdentityAudience, clock, nodeName),
    }),
    /** A code and a sentence while it cannot answer yet, or undefined. */
    whyNotReady: () => whyNotReady(keys, watches, assumers),
    observed: {
      pods: pods.size,
      sessions: sessions.size,
      soonestExpiry: sessions.soonestExpiry,
      overdue: sessions.overdue,
      waitingForSts: queue.waiting,
      watchAges: watches.ages,
      leftOut: watches.leftOut,
    },
    stop: () => {
      stopping.abort()
      keys.stop()
      sessions.stop()
      kube.close()
      imds.close()
    },
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

/** Reviews the affected grants whenever something changes on which decisions depend. */
function reviewOnChange(
  on: {
    readonly pods: Pods
    readonly namespaces: Namespaces
    readonly accounts: ServiceAccounts | undefined
    readonly assumers: Assumers
  },
  sessions: Sessions,
  warm: WarmUp,
): void {
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
  const onKnown = () => {
    sessions.review(() => true)
    warm.all()
  }
  on.assumers.start(onKnown)
}

function whyNotReady(keys: SigningKeys, watches: ClusterWatches, assumers: Assumers): NotReady | undefined {
  if (!keys.current())
    return { code: 'keys-unknown', detail: 'the API server’s token signing keys are not known' }
  const unsynced = watches.unsynced()
  if (unsynced) return { code: 'watch-not-synced', detail: `the first list of ${unsynced} has not arrived` }
  return assumers.whyUnknown()
}
