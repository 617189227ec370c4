import { BROKER_LINK } from '../../../common/addresses.ts'
import { healthServer, serveHealth } from '../../../common/health.ts'
import { onTerminate } from '../../../common/lifecycle.ts'
import type { Logger } from '../../../common/log.ts'
import { stdoutLogger } from '../../../common/log-output.ts'
import { settingsOrExit } from '../../../common/settings.ts'
import { VERSION } from '../../../common/version.ts'
import type { Cause } from '../block/block.ts'
import { changesTopology } from '../node/topology.ts'
import { watch } from '../process/watch.ts'
import { metricsText } from '../report/metrics.ts'
import { readinessOf } from '../report/report.ts'
import { type Checks, createChecks } from './checks.ts'
import { createParts } from './parts.ts'
import { conflictOf, GUARD_SETTINGS } from './settings.ts'

/** A failing start is tried again this soon. */
const RETRY_MS = 1000

/** `firewall guard`: loads the block and keeps it until the process ends; the rules outlive it. */
export function runGuard(argv: readonly string[]): void {
  const settings = settingsOrExit('pod2iam firewall guard', GUARD_SETTINGS, argv)
  const { mode, backend, hostInterface } = settings
  const log = stdoutLogger('firewall', settings.logLevel)
  const now = Date.now
  const conflict = conflictOf(settings)
  if (conflict !== undefined) {
    process.stderr.write(`pod2iam firewall guard: ${conflict}\n`)
    process.exit(2)
  }
  log.info('firewall starts', { version: VERSION, mode, backend })
  if (hostInterface !== undefined)
    log.warn('setting not needed', {
      detail: `--host-interface ${hostInterface} has no effect: packets of pods are recognised because they are forwarded, regardless of the interface; remove the setting`,
    })
  const parts = createParts(settings, now, log)
  const { changes, owned, report } = parts
  const checks = createChecks(parts)
  changes.subscribe(checks.rules)
  const stopNetwork = mode === 'remove' ? () => {} : watchNetwork(checks, log)
  const health = healthServer({
    readiness: () => readinessOf(report(), now()),
    metrics: () => metricsText(report(), now()),
  })
  const stopHealth = serveHealth(health, settings.healthPort, log)
  onTerminate(() => {
    changes.stop()
    stopNetwork()
    owned?.stop()
    stopHealth()
    log.info('firewall ends', { rules: mode === 'remove' ? 'removed' : 'stay' })
  })
  const poll = async (cause: Cause) => {
    await checks.all(cause)
    const { ready } = readinessOf(report(), now())
    setTimeout(poll, ready ? settings.pollInterval : Math.min(RETRY_MS, settings.pollInterval), 'poll')
  }
  void poll('start')
}

/** Follows the notifications about our link and the interfaces and routes into the node. */
function watchNetwork({ link, topology }: Checks, log: Logger): () => void {
  const isLink = (line: string) => line.includes(BROKER_LINK)
  return watch(
    {
      command: 'ip',
      args: ['-oneline', 'monitor', 'link', 'address', 'route', 'rule'],
      matches: (line) => isLink(line) || changesTopology(line),
    },
    {
      event: (lines) => {
        if (lines.some(isLink)) void link()
        if (lines.some(changesTopology)) void topology()
      },
      missed: () => {
        void link()
        void topology()
      },
      ended: (detail) => log.warn('monitor ended', { detail }),
    },
  )
}
