import { buildInfoText } from '../../../common/build-info.ts'
import { counter, gauge, type Metric, prometheusText } from '../../../common/prometheus-text.ts'
import { VIAS } from '../block/audit.ts'
import { CAUSES } from '../block/block.ts'
import { WARNING_CODES } from '../node/surroundings.ts'
import { COUNTERS } from '../rules/guard.ts'
import type { HostNetwork } from '../status/status.ts'
import { backendOf, type GuardReport, packetsOf, whyNotVerified } from './report.ts'

/**
 * Prometheus text. Labels are bounded: counters, causes, codes, backend and mode; an address is never one.
 *
 * @param now milliseconds
 */
export function metricsText(report: GuardReport, now: number): string {
  return buildInfoText('firewall') + prometheusText('pod2iam_firewall_', metricsOf(report, now))
}

function metricsOf(report: GuardReport, now: number): Metric[] {
  const { block, hostNetwork, link, mode, owned, sightings, surroundings } = report
  const age = block.checkedAt === undefined ? Number.NaN : (now - block.checkedAt) / 1000
  const blocked = mode === 'enforce' && whyNotVerified(report) === undefined
  const info = `{backend="${backendOf(report)}",mode="${mode}"}`
  const packets = COUNTERS.map((name) => [`{rule="${name}"}`, packetsOf(report, name)] as const)
  const repairs = CAUSES.map((cause) => [`{cause="${cause}"}`, block.repairs[cause]] as const)
  return [
    gauge('info', 'Backend and mode of the firewall.', [[info, 1]]),
    gauge(
      'block_verified',
      '1 when the rules that refuse were read back as loaded, and nothing is known to bypass them.',
      blocked,
    ),
    gauge('verification_age_seconds', 'Seconds since the rules were last read back.', age),
    counter('packets_total', 'Packets refused or dropped, by rule.', packets),
    counter(
      'repairs_total',
      'Changes by other programs that were undone, by why the rules were checked.',
      repairs,
    ),
    gauge('broker_link_up', '1 when the link of the broker is up.', link?.up ?? false),
    ...(owned === undefined
      ? []
      : [
          gauge(
            'owned_table_held',
            '1 if the guard owns the table that no other program can flush.',
            owned.held,
          ),
        ]),
    ...(surroundings === undefined ? [] : surroundingsMetrics(surroundings)),
    ...(sightings === undefined ? [] : auditMetrics(sightings)),
    ...(hostNetwork === undefined ? [] : hostNetworkMetrics(hostNetwork)),
  ]
}

function hostNetworkMetrics({ mode, packets, repairs, verified }: HostNetwork): Metric[] {
  const pods = ['allowed', 'others', 'unknown'] as const
  return [
    gauge(
      'host_network_verified',
      '1 when the rules about pods on the host network were read back as loaded, and were seen to match.',
      [[`{mode="${mode}"}`, Number(verified)]],
    ),
    counter(
      'host_network_packets_total',
      'Packets of pods on the host network to the metadata service: of those that may use the node role, of others, and of pods not known to the broker.',
      pods.map((which) => [`{pods="${which}"}`, packets[which]]),
    ),
    counter('host_network_repairs_total', 'Changes of these rules that were undone.', repairs),
  ]
}

function surroundingsMetrics({ leftovers, warnings }: NonNullable<GuardReport['surroundings']>): Metric[] {
  const has = (code: string) => Number(warnings.some((warning) => warning.code === code))
  return [
    gauge(
      'leftover_rules',
      'Rules of other tools that redirect traffic to the metadata service; see firewall status.',
      leftovers.length,
    ),
    gauge(
      'warning',
      '1 if firewall status gives this warning about the node.',
      WARNING_CODES.map((code) => [`{code="${code}"}`, has(code)]),
    ),
  ]
}

function auditMetrics(sightings: NonNullable<GuardReport['sightings']>): Metric[] {
  const packets = sightings.packets()
  const seen = (via: string) => sightings.list().filter((sighting) => sighting.via === via).length
  return [
    counter(
      'audit_packets_total',
      'Packets from pods to the metadata service that enforcing would refuse (direct), or that DNAT of another tool changed.',
      VIAS.map((via) => [`{via="${via}"}`, packets[via]]),
    ),
    gauge(
      'audit_addresses',
      'Addresses seen since this process started; firewall status names them.',
      VIAS.map((via) => [`{via="${via}"}`, seen(via)]),
    ),
  ]
}
