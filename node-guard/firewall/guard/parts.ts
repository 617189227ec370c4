import type { Logger } from '../../../common/log.ts'
import { createSightings } from '../block/audit.ts'
import { auditBackends, findBackends } from '../block/backends.ts'
import { createBlock } from '../block/block.ts'
import { createChoice } from '../block/choice.ts'
import { createRuleChanges } from '../block/rule-changes.ts'
import { bootMarkers } from '../boot/files.ts'
import { bootRulesWarning, readBootRules } from '../boot/installed.ts'
import { readNatRules } from '../iptables/nat-rules.ts'
import { startHolder } from '../nft/owned-holder.ts'
import { createOwnedTable, type OwnedTable } from '../nft/owned-table.ts'
import { createBrokerLink } from '../node/broker-link.ts'
import { hasNetkit, readInterfaces } from '../node/dataplane.ts'
import { readImdsOptions } from '../node/imds-options.ts'
import { createSurroundings, type Surroundings } from '../node/surroundings.ts'
import { createTopology } from '../node/topology.ts'
import { readUplinks } from '../node/uplinks.ts'
import { bounded } from '../process/bounded.ts'
import { exec } from '../process/exec.ts'
import { createRemovalBlock } from '../remove/removal.ts'
import { createPublisher } from '../report/publisher.ts'
import type { GuardReport } from '../report/report.ts'
import { createHostNetwork } from './host-network.ts'
import type { GuardSettings } from './settings.ts'

/** Everything that a guard consists of. */
export type Parts = ReturnType<typeof createParts>

/**
 * Makes the parts of a guard, each from those before it; nothing runs yet.
 *
 * @param now milliseconds
 */
export function createParts(settings: GuardSettings, now: () => number, log: Logger) {
  const addresses = addressesOf(settings)
  const removing = settings.mode === 'remove'
  const changes = createRuleChanges(log)
  const sightings = settings.mode === 'audit' ? createSightings(now) : undefined
  const backends = sightings ? auditBackends(exec, sightings) : findBackends(exec, settings.backend)
  const choice = createChoice({ backends, follow: changes.follow, log })
  const topology = createTopology({ exec, routeOptions: addresses, fallback: readUplinks, log })
  const block = removing
    ? createRemovalBlock({ exec, now, log })
    : createBlock({ ...addresses, choice, topology: topology.known, now, log })
  const owned = ownedTableOf(settings, log, () => changes.report('event'))
  const surroundings = removing ? undefined : surroundingsOf(settings, log, now)
  const link = createBrokerLink({ exec, addresses: addresses.broker, routingProblem: topology.problem, log })
  const hostNetwork = createHostNetwork({
    ...{ exec, directory: settings.stateDir, now, log },
    mode: settings.hostNetwork,
  })
  const publisher = createPublisher({ directory: settings.stateDir, metadata: addresses.metadata, now, log })
  const report = (): GuardReport => ({
    mode: settings.mode,
    block: block.state(),
    owned: owned?.state(),
    link: link.state(),
    surroundings: surroundings?.state(),
    sightings,
    hostNetwork: hostNetwork.state(),
    stateFault: publisher.fault(),
    pollIntervalMs: settings.pollInterval,
  })
  return { addresses, changes, topology, block, owned, surroundings, link, hostNetwork, publisher, report }
}

const addressesOf = ({ metadataAddress, brokerAddress }: GuardSettings) => ({
  metadata: metadataAddress,
  broker: brokerAddress,
})

/** The owned copy of `--owned-table=true`; in the other modes there is nothing that must not be flushed. */
function ownedTableOf(settings: GuardSettings, log: Logger, lost: () => void): OwnedTable | undefined {
  if (!settings.ownedTable) return undefined
  if (settings.mode === 'enforce') return createOwnedTable({ exec, hold: startHolder, lost, log })
  log.warn('setting without effect', {
    detail: `--owned-table is not held with --mode ${settings.mode}: there is no block to protect`,
  })
  return undefined
}

function surroundingsOf(settings: GuardSettings, log: Logger, now: () => number): Surroundings {
  const markers = bootMarkers(addressesOf(settings))
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
