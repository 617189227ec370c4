import type { HostNetwork, Status } from './status.ts'

const COLUMN = 18
const WHAT: Readonly<Record<string, string>> = { audit: 'counting verified', remove: 'rules removed' }
const MODE: Readonly<Record<string, string>> = { audit: 'audit (nothing is refused, only counted)' }

/**
 * The status as a person reads it.
 *
 * @param now milliseconds
 */
export function statusText(status: Status, now: number): string {
  const { audit, hostNetwork, leftovers, leftoversAt, mode, verified, verifiedAt, warnings } = status
  const seen = verifiedAt === null ? 'never' : `${ago(verifiedAt, now)}, ${verifiedAt}`
  const rows = [
    ['backend', status.backend],
    ['mode', MODE[mode] ?? mode],
    [WHAT[mode] ?? 'block verified', `${verified ? 'yes' : 'NO'} (${seen})`],
    ['owned table', status.ownedTable ? 'yes' : 'no'],
    ['refused packets', String(status.refusedPackets)],
    ['repairs', String(status.repairs)],
    ['broker link', status.brokerLink],
    ...warnings.map(({ code, detail }) => ['warning', `${code}: ${detail}`]),
    ...(leftoversAt === null
      ? []
      : [['leftovers', `${leftovers.length || 'none'} (as of ${ago(leftoversAt, now)})`]]),
    ...leftovers.map(({ kind, rule, remove }) => [
      'leftover',
      `${kind}: ${rule}\n${' '.repeat(COLUMN)}remove it: ${remove}`,
    ]),
    ...(mode === 'audit' && audit.length === 0
      ? [['seen', 'no pod has sent anything to the metadata service']]
      : []),
    ...audit.map(({ address, via, packets, firstSeen, lastSeen }) => [
      'seen',
      `${address.padEnd(15)} ${via.padEnd(6)} ${packets} packets, first ${ago(firstSeen, now)}, last ${ago(lastSeen, now)}`,
    ]),
    ...(hostNetwork === null ? [] : hostNetworkRows(hostNetwork, now)),
  ]
  return `${rows.map(([name = '', value]) => `${name.padEnd(COLUMN)}${value}`).join('\n')}\n`
}

function hostNetworkRows({ mode, backend, verified, packets, pods }: HostNetwork, now: number): string[][] {
  const { allowed, others, unknown } = packets
  return [
    [
      'host network',
      `${mode}${backend === undefined ? '' : ` by ${backend}`}, ${verified ? 'verified' : 'NOT verified'}; packets: ${others + unknown} ${mode === 'block' ? 'refused' : 'to be refused'}, ${allowed} allowed`,
    ],
    ...pods.map((pod) => [
      'on host network',
      `${pod.namespace}/${pod.name} ${pod.allowed ? 'allowed' : 'not allowed'}, ${pod.packets} packets, last ${ago(pod.lastSeen, now)}`,
    ]),
    ...(unknown > 0 ? [['on host network', `other pods: ${unknown} packets`]] : []),
  ]
}

function ago(time: string, now: number): string {
  const seconds = Math.round((now - Date.parse(time)) / 1000)
  if (seconds < 120) return `${seconds}s ago`
  if (seconds < 7200) return `${Math.round(seconds / 60)}m ago`
  return `${Math.round(seconds / 3600)}h ago`
}
