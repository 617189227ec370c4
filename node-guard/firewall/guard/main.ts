import { setTimeout as pause } from 'node:timers/promises'
import { BROKER_LINK } from '../../../common/addresses.ts'
import { messageOf } from '../../../common/errors.ts'
import { writeFirewallState } from '../../../common/firewall-state.ts'
import { healthServer } from '../../../common/health.ts'
import { onTerminate } from '../../../common/lifecycle.ts'
import type { Logger } from '../../../common/log.ts'
import { stdoutLogger } from '../../../common/log-output.ts'
import { settingsOrExit } from '../../../common/settings.ts'
import { VERSION } from '../../../common/version.ts'
import { bootMarkers } from '../boot/files.ts'
import { bootRulesWarning, readBootRules } from '../boot/installed.ts'
import { watchCanaries } from '../iptables/canaries.ts'
import { readNatRules } from '../iptables/nat-rules.ts'
import { startHolder } from '../nft/owned-holder.ts'
import { createOwnedTable, type OwnedTable } from '../nft/owned-table.ts'
import { ensureLink, type LinkState } from '../node/broker-link.ts'
import { hasNetkit, readInterfaces } from '../node/dataplane.ts'
import { readImdsOptions } from '../node/imds-options.ts'
import { createSurroundings, type Surroundings } from '../node/surroundings.ts'
import { readUplinks } from '../node/uplinks.ts'
import { changesWays, createWays } from '../node/ways.ts'
import { bounded } from '../process/bounded.ts'
import { exec } from '../process/exec.ts'
import { watch } from '../process/watch.ts'
import { createRemovalBlock } from '../remove/removal.ts'
import { metricsText } from '../report/metrics.ts'
import {
  firewallStateOf,
  type GuardReport,
  readinessOf,
  statusOf,
  validSecondsOf,
  whyNotVerified,
} from '../report/report.ts'
import { writeStatus } from '../status/file.ts'
import { type LookedAt, thisNetwork } from '../status/leftovers.ts'
import { createSightings } from './audit.ts'
import { auditBackends } from './audit-backend.ts'
import type { Backend } from './backend.ts'
import { findBackends } from './backends.ts'
import { type Block, type Cause, createBlock } from './block.ts'
import { createChoice } from './choice.ts'
import { conflictOf, GUARD_SETTINGS, type GuardSettings } from './settings.ts'
import { singleFlight } from './single-flight.ts'

/** A failing start is tried again this soon. */
const RETRY_MS = 1000
/** That a monitor ended is a warning again after so long a time without. */
const MONITOR_TOLD_MS = 600_000
/** So long the rules wait for what leads into the node to be looked at: without it they are right for most nodes. */
const WAYS_MS = 3000

/** `firewall guard`: loads the block and keeps it until the process ends; the rules outlive it. */
export function runGuard(argv: readonly string[]): void {
  const settings = settingsOrExit('pod2iam firewall guard', GUARD_SETTINGS, argv)
  const log = stdoutLogger('firewall', settings.logLevel)
  const now = Date.now
  const conflict = conflictOf(settings)
  if (conflict !== undefined) {
    process.stderr.write(`pod2iam firewall guard: ${conflict}\n`)
    process.exit(2)
  }
  const removing = settings.mode === 'remove'
  log.info('firewall starts', { version: VERSION, mode: settings.mode, backend: settings.backend })
  if (settings.hostInterface !== undefined)
    log.warn('setting not needed', {
      detail: `--host-interface ${settings.hostInterface} has no effect: what pods send is known by being forwarded, whatever the interface; remove the setting`,
    })
  const rulesWatch = watchRules(
    log,
    (cause) => checkBlock(cause),
    () => choice.chosen(),
  )
  const sightings = settings.mode === 'audit' ? createSightings(now) : undefined
  const choice = createChoice({
    backends: sightings ? auditBackends(exec, sightings) : findBackends(exec, settings.backend),
    follow: rulesWatch.follow,
    log,
  })
  const ways = createWays({
    exec,
    answers: { metadata: settings.metadataAddress, broker: settings.brokerAddress },
    fallback: readUplinks,
    log,
  })
  const block: Block = removing
    ? createRemovalBlock({ exec, now, log })
    : createBlock({
        metadata: settings.metadataAddress,
        broker: settings.brokerAddress,
        choice,
        ways: ways.known,
        now,
        log,
      })
  const owned = ownedTableOf(settings, log, () => checkBlock('event'))
  const surroundings = removing ? undefined : surroundingsOf(settings, log, now)
  let link: LinkState | undefined
  let stateFault: string | undefined
  const report = (): GuardReport => ({
    mode: settings.mode,
    block: block.state(),
    owned: owned?.state(),
    link,
    surroundings: surroundings?.state(),
    sightings,
    stateFault,
    pollIntervalMs: settings.pollInterval,
  })

  // Nobody waits for it: a stuck disk must not keep a repair waiting.
  const publish = singleFlight(async (_: undefined) => {
    try {
      await writeFirewallState(settings.stateDir, firewallStateOf(report()))
      await writeStatus(settings.stateDir, {
        version: 1,
        writtenAt: new Date(now()).toISOString(),
        validSeconds: validSecondsOf(report()),
        ...(await whereLooked(settings)),
        status: statusOf(report()),
      })
      stateFault = undefined
    } catch (error) {
      const fault = `the state cannot be written to ${settings.stateDir} (${messageOf(error)}): mount a writable directory there, shared with the broker`
      if (fault !== stateFault) log.error('state not written', { detail: fault })
      stateFault = fault
    }
  })
  const checkBlock = singleFlight(async (cause: Cause) => {
    await block.check(cause)
    // Not before the plain table, which has to stand when this process ends.
    await owned?.check({
      metadata: settings.metadataAddress,
      broker: settings.brokerAddress,
      ...ways.known(),
    })
    void publish(undefined)
  })
  const look = singleFlight(async (_: undefined) => surroundings?.look())
  const search = singleFlight(async (_: undefined) => {
    if (await surroundings?.search()) void publish(undefined)
  })
  const ask = singleFlight(async (_: undefined) => surroundings?.ask())
  const checkLink = singleFlight(async (_: undefined) => {
    const before = link
    const made = await ensureLink(exec, settings.brokerAddress)
    const details = [made.detail, ways.detail()].filter((detail) => detail !== undefined)
    link = details.length > 0 ? { ...made, detail: details.join('; ') } : made
    if (link.changed) log.info('broker link made', { link: BROKER_LINK, addresses: settings.brokerAddress })
    if (link.detail !== undefined && link.detail !== before?.detail)
      log[link.up ? 'warn' : 'error']('broker link incomplete', { detail: link.detail })
    if (link.up !== before?.up || link.detail !== before?.detail) void publish(undefined)
  })

  /** `checkFollows`: whether who asks checks the block afterwards anyway. */
  const checkWays = singleFlight(async (checkFollows: () => boolean) => {
    const before = ways.detail()
    const changed = await ways.look()
    if (changed && !checkFollows()) void checkBlock('uplinks')
    // The link's report says what is wrong with the ways to it.
    if (ways.detail() !== before && link !== undefined) void checkLink(undefined)
  })

  const poll = async (cause: Cause) => {
    if (!removing) {
      let waiting = true
      await Promise.race([checkWays(() => waiting), pause(WAYS_MS, undefined, { ref: false })])
      waiting = false
    }
    // Rules first: without them a pod could send its token to the broker's address beyond this node.
    await checkBlock(cause)
    if (!removing) await checkLink(undefined)
    const before = whyNotVerified(report())?.code
    await look(undefined)
    if (whyNotVerified(report())?.code !== before) void publish(undefined)
    // Nobody waits for these: what others made may be big, and the metadata service silent.
    void search(undefined)
    void ask(undefined)
    const ready = readinessOf(report(), now()).ready
    setTimeout(poll, ready ? settings.pollInterval : Math.min(RETRY_MS, settings.pollInterval), 'poll')
  }
  const stops = removing
    ? []
    : [
        rulesWatch.stop,
        watchNetwork(
          log,
          () => checkWays(() => false),
          () => checkLink(undefined),
        ),
      ]
  const server = listen(settings, log, report, now)
  onTerminate(() => {
    for (const stop of stops) stop()
    owned?.stop()
    server.close()
    log.info('firewall ends', { rules: removing ? 'removed' : 'stay' })
  })
  void poll('start')
}

/** In mode `remove` nobody looks for leftovers. */
async function whereLooked({
  mode,
  metadataAddress,
}: GuardSettings): Promise<{ readonly lookedAt?: LookedAt }> {
  const network = mode === 'remove' ? undefined : await thisNetwork()
  return network === undefined ? {} : { lookedAt: { network, metadata: metadataAddress } }
}

/** The twin of `--owned-table=true`; in the other modes there is nothing that must not be flushed. */
function ownedTableOf(settings: GuardSettings, log: Logger, lost: () => void): OwnedTable | undefined {
  if (!settings.ownedTable) return undefined
  if (settings.mode === 'enforce') return createOwnedTable({ exec, hold: startHolder, lost, log })
  log.warn('setting without effect', {
    detail: `--owned-table is not held with --mode ${settings.mode}: there is no block to protect`,
  })
  return undefined
}

function surroundingsOf(settings: GuardSettings, log: Logger, now: () => number): Surroundings {
  const markers = bootMarkers({ metadata: settings.metadataAddress, broker: settings.brokerAddress })
  return createSurroundings({
    metadata: settings.metadataAddress,
    dataplane: settings.dataplane,
    readInterfaces,
    hasNetkit: () => hasNetkit(exec),
    bootRules: async () => bootRulesWarning(await readBootRules(exec, markers), settings.mode),
    readNatRules: (question) => readNatRules(exec, question),
    readImdsOptions: (address) => readImdsOptions(bounded(exec), address),
    now,
    log,
  })
}

/** Follows what tells of changes of a backend's rules: of one backend at a time, the one that is tried or chosen. */
function watchRules(
  log: Logger,
  checkBlock: (cause: Cause) => unknown,
  chosen: () => Backend | undefined,
): { readonly follow: (backend: Backend) => Promise<() => void>; readonly stop: () => void } {
  let stop = () => {}
  let toldAt = Number.NEGATIVE_INFINITY
  const follow = async (backend: Backend) => {
    stop()
    const watched = await backend.watched()
    stop =
      watched === undefined
        ? lookAfter(backend.unwatched, checkBlock)
        : watch(watched, {
            event: () => checkBlock('event'),
            unseen: () => checkBlock('monitor'),
            // Of a backend that is only tried, its own failure says more.
            ended: (detail) => {
              if (backend !== chosen()) return
              // More notifications at once than a socket holds end it: on a large node each of kube-proxy's whole syncs.
              log[performance.now() - toldAt < MONITOR_TOLD_MS ? 'debug' : 'warn']('monitor ended', {
                detail,
              })
              toldAt = performance.now()
            },
          })
    return stop
  }
  return { follow, stop: () => stop() }
}

/** In the place of what nothing tells. */
function lookAfter(unwatched: Backend['unwatched'], checkBlock: (cause: Cause) => unknown): () => void {
  if (unwatched === undefined) return () => {}
  const stop = watchCanaries(unwatched.isDisturbed, () => checkBlock('event'))
  const timer = setInterval(() => checkBlock('poll'), unwatched.readEvery)
  return () => {
    stop()
    clearInterval(timer)
  }
}

/** Follows what the kernel tells about our link and the ways into the node. */
function watchNetwork(log: Logger, checkWays: () => unknown, checkLink: () => unknown): () => void {
  const ended = (detail: string) => log.warn('monitor ended', { detail })
  const isLink = (line: string) => line.includes(BROKER_LINK)
  return watch(
    {
      command: 'ip',
      args: ['-oneline', 'monitor', 'link', 'address', 'route', 'rule'],
      matches: (line) => isLink(line) || changesWays(line),
    },
    {
      event: (lines) => {
        if (lines.some(isLink)) checkLink()
        if (lines.some(changesWays)) checkWays()
      },
      unseen: () => {
        checkLink()
        checkWays()
      },
      ended,
    },
  )
}

/** Serves health. A taken port is told and tried again: the block matters more than its report. */
function listen(settings: GuardSettings, log: Logger, report: () => GuardReport, now: () => number) {
  const server = healthServer({
    readiness: () => readinessOf(report(), now()),
    metrics: () => metricsText(report(), now()),
  })
  const start = () => server.listen(settings.healthPort)
  server.on('listening', () => log.info('health served', { port: settings.healthPort }))
  server.on('error', (error) => {
    log.error('health not served', {
      detail: `port ${settings.healthPort} cannot be listened on (${messageOf(error)}): free it or set --health-port`,
    })
    setTimeout(start, 5000).unref()
  })
  start()
  return server
}
