/** Constructs the parts of the sidecar and starts them. */
import type { Proof } from '../common/block/proof.ts'
import { type SteadyClock, systemClock } from '../common/clock.ts'
import { messageOf } from '../common/errors.ts'
import { healthServer, type Readiness } from '../common/health.ts'
import type { Logger } from '../common/log.ts'
import { CREDENTIALS_PATH, METADATA_PATH, POD_PATH } from '../common/protocol.ts'
import { VERSION } from '../common/version.ts'
import { type BrokerClient, brokerClient } from './broker/client.ts'
import { outcomeOf, podStateOf } from './broker/outcome.ts'
import { snapshotOf } from './broker/snapshot.ts'
import { readTokenFile } from './broker/token-file.ts'
import { containerSecretOf } from './container/secret.ts'
import { refusalSentence, startRefresher } from './credentials/refresher.ts'
import { CredentialStore } from './credentials/store.ts'
import { exchangeLog } from './health/exchange-log.ts'
import { Metrics } from './health/metrics.ts'
import { readiness } from './health/readiness.ts'
import { type Probe, selfTestOf } from './health/self-test.ts'
import { type FetchHandler, requestListener } from './http/listener.ts'
import { LIMITS, listenOn, type MetadataServer, metadataServer, type OnRefused } from './http/server.ts'
import { type Exchange, metadataApp } from './imds/app.ts'
import type { KnownRole } from './imds/iam.ts'
import { loadTokenKey } from './imds/token-key.ts'
import type { Loop } from './repeat.ts'
import type { SidecarSettings } from './settings.ts'
import { startOf } from './start/start.ts'
import { warmUpOf } from './warm-up.ts'

export type Sidecar = Awaited<ReturnType<typeof startSidecar>>

type SidecarDeps = {
  readonly log: Logger
  /** The role as the pod's annotation names it. */
  readonly role: string | undefined
  readonly clock?: SteadyClock
  readonly random?: () => number
  /** How the self-test asks the metadata address. */
  readonly probe?: Probe
  /** One round of the proof that the block holds. */
  readonly prove?: () => Promise<Proof>
  /** Called with the reason when the pod's start is not held any longer: the process has to end, so that its hook fails. */
  readonly giveUp?: (sentence: string) => void
}

/**
 * Starts everything and resolves once the ports are bound; rejects if one cannot be. `stop` answers the requests that have
 * arrived, closes, and logs a refusal that still stands once more as its last line.
 */
export async function startSidecar(settings: SidecarSettings, deps: SidecarDeps) {
  const parts = partsOf(settings, deps)
  const { store, metrics, snapshot, selfTest, start, secret, clock, log } = parts
  const ready = () => readinessOf(settings, parts)
  const server = serverOf(settings, parts)

  // Bound first; after that every step lets the event loop turn, so that an application that is too early gets its
  // answer at once: what follows takes 15 ms the first time.
  const metadataPort = await server.listen(settings.listenPort)
  const health = healthServer({
    readiness: ready,
    metrics: () =>
      metrics.text({ remaining: store.remaining(), ready: ready().ready, now: clock.monotonic() }),
  })
  const loops: Loop[] = []
  const stop = async () => {
    log.info('stopping')
    for (const loop of loops) loop.stop()
    await server.close()
    health.close()
    health.closeAllConnections()
  }
  const { webIdentityTokenFile } = settings
  try {
    if (secret !== undefined) loops.push(secret.start())
    await turn()
    const askBroker = brokerClient({
      urls: settings.brokerUrl,
      readToken: () => readTokenFile(settings.tokenFile),
      readWebIdentity: webIdentityTokenFile === '' ? undefined : () => readTokenFile(webIdentityTokenFile),
      onRelease: (release) => log.info('the broker of this node answers', { release }),
    })
    loops.push(refresh(parts, askBroker, metadataPort))
    await turn()
    loops.push(snapshot.start(() => askBroker(METADATA_PATH)))
    loops.push(...start.begin(ready, async () => podStateOf(await askBroker(POD_PATH))))
    loops.push(selfTest.start(() => log.info('self-test passed: 169.254.169.254 leads to this process')))
    await turn()
    // Without a host: on :: and, where there is no IPv6, on 0.0.0.0.
    const healthPort = await listenOn(health, undefined, settings.healthPort)
    await turn()
    await server.listenIpv6(metadataPort)
    const { imdsTokens, selfTest: mode } = settings
    log.info('listening', { version: VERSION, port: metadataPort, healthPort, imdsTokens, selfTest: mode })
    return { metadataPort, healthPort, stop: () => stop().then(() => logLastRefusal(store, log)) }
  } catch (error) {
    await stop()
    throw error
  }
}

type Parts = ReturnType<typeof partsOf>

function partsOf(
  settings: SidecarSettings,
  { log, role, clock = systemClock, random = Math.random, probe, prove, giveUp = () => {} }: SidecarDeps,
) {
  const { key, warning } = loadTokenKey(settings.stateDir)
  if (warning !== undefined) log.warn(warning)
  const { containerTokenFile: file } = settings
  return {
    ...{ log, role, clock, random },
    tokenKey: key,
    secret: file === '' ? undefined : containerSecretOf({ file, key, clock, log }),
    store: new CredentialStore(clock),
    metrics: new Metrics(),
    snapshot: snapshotOf({ clock, log, random }),
    selfTest: selfTestOf(settings.selfTest, clock, probe),
    warmUp: warmUpOf(),
    start: startOf(settings, { clock, log, prove, giveUp }),
  }
}

function readinessOf({ startupGate }: SidecarSettings, parts: Parts): Readiness {
  const { store, snapshot, selfTest, warmUp, start, secret } = parts
  return readiness({
    selfTestPassed: selfTest.passed(),
    blockPassed: start.blockPassed(),
    blockReason: start.blockReason(),
    secretProblem: secret?.problem(),
    startupGate,
    view: store.view(),
    snapshotAsked: snapshot.asked(),
    warm: warmUp.isOver(),
  })
}

/** The metadata service, not yet listening. */
function serverOf(settings: SidecarSettings, parts: Parts): MetadataServer {
  const { store, metrics, snapshot, selfTest, warmUp, tokenKey, secret, role, clock, log } = parts
  const onError = (error: unknown) => log.error('a request failed', { error: messageOf(error) })
  const logExchange = exchangeLog(log, clock)
  const onExchange = (exchange: Exchange) => {
    metrics.exchange(exchange)
    logExchange(exchange)
  }
  const app = metadataApp({
    tokenKey,
    isContainerSecret: secret?.accepts,
    imdsTokens: settings.imdsTokens,
    view: () => store.view(),
    role: () => knownRole(store, role),
    tree: snapshot.tree,
    selfTest: selfTest.answer,
    isOwn: warmUp.isOwn,
    onExchange,
    onError,
    clock,
  })
  const onRefused: OnRefused = (refusal, status, more) =>
    onExchange({ ...more, path: undefined, status, refusal })
  // The classes differ (http/web.ts), but not in what is used of them.
  const listener = requestListener(app.fetch as unknown as FetchHandler, {
    bodyLimit: LIMITS.body,
    headerLines: LIMITS.headerLines,
    onError,
    onRefused: (refusal, status, method) => onRefused(refusal, status, { method }),
  })
  return metadataServer(listener, onRefused)
}

/** Keeps the credentials fresh. */
function refresh(parts: Parts, askBroker: BrokerClient, metadataPort: number): Loop {
  const { store, metrics, warmUp, selfTest, role, clock, log, random } = parts
  return startRefresher({
    ask: async () => outcomeOf(await askBroker(CREDENTIALS_PATH), clock.now()),
    onOutcome: (outcome) => {
      metrics.refresh(outcome, clock.monotonic())
      if (outcome.kind === 'credentials' || outcome.kind === 'none')
        void warmUp.run(metadataPort, knownRole(store, role).name, selfTest.endpoint)
    },
    ...{ store, clock, log, random },
  })
}

/** Turns of the event loop in which requests that have arrived are served: connections are accepted in the first one, and read in the second. */
function turn(): Promise<void> {
  return new Promise((done) => setImmediate(() => setImmediate(done)))
}

/** kubectl describe pod shows a container's last lines: a standing refusal must be among them. */
function logLastRefusal(store: CredentialStore, log: Logger): void {
  const view = store.view()
  log.info('stopped')
  if (view.kind === 'refused') log.error(refusalSentence(view.detail), { code: view.code })
}

/** The role's name and spellings, from the last credentials or, before any, from the annotation. */
function knownRole(store: CredentialStore, annotated: string | undefined): KnownRole {
  const last = store.last()
  // A default role that was refused has no name here; the list must print one for the document to be asked for.
  const name = last?.role ?? annotated?.replace(/^\//, '') ?? 'default'
  return { name, texts: [name, last?.roleArn, annotated] }
}
