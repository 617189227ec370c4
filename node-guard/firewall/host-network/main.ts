import { watch as watchDirectory } from 'node:fs'
import { join } from 'node:path'
import { HOST_PODS_DIR, STATE_DIR } from '../../../common/addresses.ts'
import { coalesce } from '../../../common/coalesce.ts'
import { messageOf } from '../../../common/errors.ts'
import { readHostPods } from '../../../common/host-pods.ts'
import { onTerminate } from '../../../common/lifecycle.ts'
import { LOG_LEVELS } from '../../../common/log.ts'
import { stdoutLogger } from '../../../common/log-output.ts'
import { oneOf, settingsOrExit, text } from '../../../common/settings.ts'
import { VERSION } from '../../../common/version.ts'
import { ruleEvents } from '../nft/rule-events.ts'
import { exec } from '../process/exec.ts'
import { watch } from '../process/watch.ts'
import { ADDRESS_SETTINGS, boundedDuration } from '../shared-settings.ts'
import { writeHostNetwork } from '../status/host-network.ts'
import type { HostNetworkBackend } from './backend.ts'
import { hostNetworkBackends } from './backends.ts'
import { parentDirectories, podCgroups, selfCgroup } from './cgroups.ts'
import { sendProofs } from './proof.ts'
import { createHostNetworkReconciler } from './reconciler.ts'

const HOST_NETWORK_SETTINGS = {
  mode: oneOf(
    ['audit', 'block'],
    'audit',
    'audit: count what pods on the host network send; block: refuse it, except of pods that may use the node’s role',
  ),
  backend: oneOf(
    ['auto', 'nft', 'iptables'],
    'auto',
    'backend for the rules; auto uses the first that works, nft first',
  ),
  ...ADDRESS_SETTINGS,
  pollInterval: boundedDuration(
    '10s',
    [100, 300_000],
    'from 100ms to 5m',
    'how often the rules are proven although no event came',
  ),
  stateDir: text(STATE_DIR, 'directory shared with the guard'),
  podsDir: text(HOST_PODS_DIR, 'directory in which the broker lists pods on the host network'),
  logLevel: oneOf(LOG_LEVELS, 'info', 'least level that is logged'),
}

/** For how many poll intervals a report is valid, and for how long at least. */
const VALID_INTERVALS = 3
const VALID_AT_LEAST_MS = 5000
/** In every 30th check the rules are read back although nothing has reported a change. */
const WHOLE_EVERY = 30

/**
 * `firewall host-network`: keeps the rules about pods on the host network, in a separate process beside the guard, since
 * it has to be in the node's cgroup namespace. The rules stay when it ends.
 */
export async function runHostNetwork(argv: readonly string[]): Promise<void> {
  const settings = settingsOrExit('pod2iam firewall host-network', HOST_NETWORK_SETTINGS, argv)
  const { mode, stateDir, podsDir, pollInterval, metadataAddress: metadata, brokerAddress: broker } = settings
  const log = stdoutLogger('host-network', settings.logLevel)
  log.info('host network starts', { version: VERSION, mode })
  // A lock of its own: of iptables-legacy, only a table is used in which no other program writes, and only root may open the node's lock.
  const backends = hostNetworkBackends(exec, settings.backend, join(stateDir, '.host-network.lock'))
  const reconciler = createHostNetworkReconciler({
    ...{ backends, mode, metadata, broker, self: selfCgroup, prove: sendProofs, now: Date.now, log },
    readPods: () => readHostPods(podsDir),
  })
  const report = async () => {
    const { checkedAt, ...state } = reconciler.state()
    await writeHostNetwork(stateDir, {
      ...{ version: 1, writtenAt: new Date(checkedAt).toISOString(), ...state },
      validSeconds: Math.max(pollInterval * VALID_INTERVALS, VALID_AT_LEAST_MS) / 1000,
    })
  }
  let mayDiffer = true
  let checks = 0
  const check = coalesce<void>(async () => {
    const whole = mayDiffer || ++checks % WHOLE_EVERY === 0
    mayDiffer = false
    await reconciler.check(whole)
    await report().catch((error: unknown) =>
      log.error('state not written', {
        detail: `the state cannot be written to ${stateDir} (${messageOf(error)}): mount a writable directory there, shared with the guard`,
      }),
    )
  })
  const event = () => void check()
  const stopRules = await followRules(backends, () => {
    mayDiffer = true
    event()
  })
  const stopDirectories = followDirectories([podsDir], event)
  const place = podCgroups(await selfCgroup())
  const stopCgroups = followDirectories(place.ok ? parentDirectories(place.root) : [], event)
  onTerminate(() => {
    for (const stop of [stopRules, stopDirectories, stopCgroups]) stop()
    log.info('host network ends', { rules: 'stay' })
  })
  const poll = async () => {
    await check()
    setTimeout(poll, Math.min(pollInterval, reconciler.readEvery() ?? pollInterval))
  }
  void poll()
}

/** Follows changes of our rules by other programs; our own changes cause one more check, too. */
async function followRules(
  backends: readonly HostNetworkBackend[],
  changed: () => void,
): Promise<() => void> {
  const interests = backends.flatMap(({ eventFilter }) => (eventFilter === undefined ? [] : [eventFilter]))
  const interest = {
    tables: interests.flatMap(({ tables }) => tables),
    matches: (line: string) => interests.some(({ matches }) => matches(line)),
  }
  return watch(await ruleEvents(exec, interest), { event: changed, missed: changed, ended: () => {} })
}

/** Follows what appears and disappears in directories; changes in one that does not exist are found by the poll only. */
function followDirectories(directories: readonly string[], changed: () => void): () => void {
  const watchers = directories.flatMap((directory) => {
    try {
      return [watchDirectory(directory, changed).on('error', () => {})]
    } catch {
      return []
    }
  })
  return () => {
    for (const watcher of watchers) watcher.close()
  }
}
