import { buildInfoText } from '../../../common/build-info.ts'
import { type Metric, prometheusText } from '../../../common/prometheus-text.ts'
import { VIAS } from '../guard/audit.ts'
import { CAUSES } from '../guard/block.ts'
import { WARNING_CODES } from '../node/surroundings.ts'
import { COUNTERS } from '../rules/guard.ts'
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
  const { block, link, mode, owned, surroundings } = report
  const age = block.checkedAt === undefined ? Number.NaN : (now - block.checkedAt) / 1000
  const blocked = mode === 'enforce' && whyNotVerified(report) === undefined
  const one = (value: number | boolean) => [['', Number(value)]] as const
  return [
    {
      name: 'info',
      type: 'gauge',
      help: 'Backend and mode of the firewall.',
      samples: [[`{backend="${backendOf(report)}",mode="${mode}"}`, 1]],
    },
    {
      name: 'block_verified',
      type: 'gauge',
      help: '1 when the rules that refuse were read back as loaded, and nothing is known to go round them.',
      samples: one(blocked),
    },
    {
      name: 'verification_age_seconds',
      type: 'gauge',
      help: 'Seconds since the rules were last read back.',
      samples: one(age),
    },
    {
      name: 'packets_total',
      type: 'counter',
      help: 'Packets refused or dropped, by rule.',
      samples: COUNTERS.map((name) => [`{rule="${name}"}`, packetsOf(report, name)]),
    },
    {
      name: 'repairs_total',
      type: 'counter',
      help: 'Changes by others that were undone, by what made us look.',
      samples: CAUSES.map((cause) => [`{cause="${cause}"}`, block.repairs[cause]]),
    },
    {
      name: 'broker_link_up',
      type: 'gauge',
      help: '1 when the link of the broker is up.',
      samples: one(link?.up ?? false),
    },
    ...(owned === undefined
      ? []
      : [
          {
            name: 'owned_table_held',
            type: 'gauge' as const,
            help: '1 when the table that nobody else can flush is held.',
            samples: one(owned.held),
          },
        ]),
    ...(surroundings === undefined ? [] : surroundingsMetrics(surroundings)),
    ...(report.sightings === undefined ? [] : auditMetrics(report.sightings)),
  ]
}

function surroundingsMetrics({ leftovers, warnings }: NonNullable<GuardReport['surroundings']>): Metric[] {
  return [
    {
      name: 'leftover_rules',
      type: 'gauge',
      help: 'Rules of other tools that take what is sent to the metadata service; see firewall status.',
      samples: [['', leftovers.length]],
    },
    {
      name: 'warning',
      type: 'gauge',
      help: '1 where firewall status gives this warning about the node.',
      samples: WARNING_CODES.map((code) => [
        `{code="${code}"}`,
        Number(warnings.some((warning) => warning.code === code)),
      ]),
    },
  ]
}

function auditMetrics(sightings: NonNullable<GuardReport['sightings']>): Metric[] {
  const packets = sightings.packets()
  const list = sightings.list()
  return [
    {
      name: 'audit_packets_total',
      type: 'counter',
      help: 'Packets from pods to the metadata service that enforcing would refuse (direct), or that DNAT of another tool changed.',
      samples: VIAS.map((via) => [`{via="${via}"}`, packets[via]]),
    },
    {
      name: 'audit_addresses',
      type: 'gauge',
      help: 'Addresses seen since this process started; firewall status names them.',
      samples: VIAS.map((via) => [`{via="${via}"}`, list.filter((sighting) => sighting.via === via).length]),
    },
  ]
}
