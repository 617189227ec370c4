import { BROKER_LINK } from '../../../common/addresses.ts'
import { messageOf } from '../../../common/errors.ts'
import { writeFirewallState } from '../../../common/firewall-state.ts'
import { healthServer } from '../../../common/health.ts'
import { onTerminate } from '../../../common/lifecycle.ts'
import type { Logger } from '../../../common/log.ts'
import { pinoLogger } from '../../../common/pino-log.ts'
import { settingsOrExit } from '../../../common/settings.ts'
import { exec } from '../exec.ts'
import { writeStatus } from '../status-file.ts'
import { type Block, type Cause, createBlock } from './block.ts'
import { ensureLink, type LinkState } from './link.ts'
import { createRemovalBlock } from './removal.ts'
import { firewallStateOf, type GuardReport, metricsText, readinessOf, statusOf } from './report.ts'
import { GUARD_TABLE } from './ruleset.ts'
import { GUARD_SETTINGS, type GuardSettings } from './settings.ts'
import { singleFlight } from './single-flight.ts'
import { readUplinks } from './uplinks.ts'
import { watch } from './watch.ts'

/** A failing start is tried again this soon. */
const RETRY_MS = 1000

/** `firewall guard`: loads the block and keeps it until the process ends; the rules outlive it. */
export function runGuard(argv: readonly string[]): void {
  const settings = settingsOrExit('pod2iam firewall guard', GUARD_SETTINGS, argv)
  const log = pinoLogger('firewall', settings.logLevel)
  const now = Date.now
  const removing = settings.mode === 'remove'
  const block: Block = removing
    ? createRemovalBlock({ exec, now, log })
    : createBlock({
        metadata: settings.metadataAddress,
        broker: settings.brokerAddress,
        exec,
        readUplinks,
        now,
        log,
      })
  let link: LinkState | undefined
  let stateFault: string | undefined
  const report = (): GuardReport => ({
    mode: removing ? 'remove' : 'enforce',
    block: block.state(),
    link,
    stateFault,
    pollIntervalMs: settings.pollInterval,
  })

  // Nobody waits for it: a stuck disk must not keep a repair waiting.
  const publish = singleFlight(async (_: undefined) => {
    try {
      await writeFirewallState(settings.stateDir, firewallStateOf(report()))
      await writeStatus(settings.stateDir, statusOf(report()))
      stateFault = undefined
    } catch (error) {
      const fault = `the state cannot be written to ${settings.stateDir} (${messageOf(error)}): mount a writable directory there, shared with the broker`
      if (fault !== stateFault) log.error('state not written', { detail: fault })
      stateFault = fault
    }
  })
  const checkBlock = singleFlight(async (cause: Cause) => {
    await block.check(cause)
    void publish(undefined)
  })
  const checkLink = singleFlight(async (_: undefined) => {
    const before = link
    link = await ensureLink(exec, settings.brokerAddress)
    if (link.changed) log.info('broker link made', { link: BROKER_LINK, addresses: settings.brokerAddress })
    if (link.detail !== undefined && link.detail !== before?.detail)
      log[link.up ? 'warn' : 'error']('broker link incomplete', { detail: link.detail })
    if (link.up !== before?.up || link.detail !== before?.detail) void publish(undefined)
  })

  const poll = async (cause: Cause) => {
    // Rules first: without them a pod could send its token to the broker's address beyond this node.
    await checkBlock(cause)
    if (!removing) await checkLink(undefined)
    const wait = readinessOf(report(), now()).ready
      ? settings.pollInterval
      : Math.min(RETRY_MS, settings.pollInterval)
    setTimeout(poll, wait, 'poll')
  }
  const stops = removing ? [] : watchNode(log, checkBlock, () => checkLink(undefined))
  const server = listen(settings, log, report, now)
  onTerminate(() => {
    for (const stop of stops) stop()
    server.close()
    log.info('firewall ends', { rules: removing ? 'removed' : 'stay' })
  })
  void poll('start')
}

/** Follows what the kernel tells about our table, our link and the default routes. */
function watchNode(
  log: Logger,
  checkBlock: (cause: Cause) => unknown,
  checkLink: () => unknown,
): (() => void)[] {
  const ended = (detail: string) => log.warn('monitor ended', { detail })
  const rules = watch(
    { command: 'nft', args: ['monitor'], matches: (line) => line.includes(GUARD_TABLE) },
    { event: () => checkBlock('event'), restarted: () => checkBlock('monitor'), ended },
  )
  const isDefault = (line: string) => /^(?:Deleted )?default /.test(line)
  const isLink = (line: string) => line.includes(BROKER_LINK)
  const network = watch(
    {
      command: 'ip',
      args: ['-oneline', 'monitor', 'link', 'address', 'route'],
      matches: (line) => isLink(line) || isDefault(line),
    },
    {
      event: (lines) => {
        if (lines.some(isLink)) checkLink()
        if (lines.some(isDefault)) checkBlock('uplinks')
      },
      restarted: () => {
        checkLink()
        checkBlock('uplinks')
      },
      ended,
    },
  )
  return [rules, network]
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
