import { readFile } from 'node:fs/promises'
import type { NatRule } from '../iptables/nat-rules.ts'
import type { Exec } from '../process/exec.ts'

/** Cilium's comment on the rule by which it masquerades with iptables. */
export const CILIUM_MASQUERADE = 'cilium masquerade non-cluster'

/** The device by which Cilium is known. */
export const CILIUM_DEVICE = 'cilium_host'
/** Its chain for masquerading, also while it is being replaced. */
export const CILIUM_CHAINS = ['CILIUM_POST_nat', 'OLD_CILIUM_POST_nat'] as const

/** What of a node's dataplane can be seen from its network namespace. */
export type DataplaneFacts = {
  /** Names of all interfaces. */
  readonly interfaces: readonly string[]
  /** Some are netkit devices. */
  readonly netkit: boolean
  /** Rules of nat tables with {@link CILIUM_MASQUERADE}. */
  readonly natRules: readonly NatRule[]
}

/** That pods' packets go round netfilter, or may, and what to do. */
export type Bypass = { readonly why: string; readonly remedy: string }

/**
 * Why pods' packets go round netfilter, so that rules which stand as they should refuse nothing; undefined where
 * nothing says so.
 *
 * - netkit devices: Cilium uses them with eBPF host routing only (Cilium's tuning guide).
 * - Cilium with veth devices: eBPF host routing unless it masquerades by iptables, with which it falls back to the
 *   host's stack (its agent logs "BPF host routing requires enable-bpf-masquerade"). Other reasons for falling back
 *   cannot be seen from here; then the operator says so, by `--dataplane=netfilter`.
 * - Calico's eBPF dataplane, by the devices it makes.
 */
export function whyBypassed({ interfaces, netkit, natRules }: DataplaneFacts): Bypass | undefined {
  const cilium = interfaces.includes(CILIUM_DEVICE)
  if (netkit)
    return {
      why: 'pods of this node have netkit devices, whose packets go round netfilter',
      remedy:
        'refuse the metadata addresses by a CiliumClusterwideNetworkPolicy, require IMDSv2 with hop limit 1, or use veth devices with bpf.hostLegacyRouting=true',
    }
  if (cilium && !natRules.some(({ rule }) => rule.includes(CILIUM_MASQUERADE)))
    return {
      why: 'Cilium runs here and does not masquerade by iptables, so that it may route round netfilter (eBPF host routing)',
      remedy:
        'set bpf.hostLegacyRouting=true in Cilium; where `cilium status` says "Host: Legacy", tell this guard by --dataplane=netfilter',
    }
  if (interfaces.includes('bpfin.cali') || interfaces.includes('bpfout.cali'))
    return {
      why: 'Calico’s eBPF dataplane runs here, which may route round netfilter',
      remedy:
        'use Calico’s iptables or nftables dataplane; where pods are known to be refused, tell this guard by --dataplane=netfilter',
    }
  return undefined
}

/** Interfaces that tell of a dataplane of eBPF, sorted, as one word: when it changes it is time for another look. */
export const markers = (interfaces: readonly string[]) =>
  interfaces
    .filter((name) => name === CILIUM_DEVICE || /^bpf(?:in|out)\.cali$/.test(name))
    .sort()
    .join(' ')

/** Names of the interfaces of this network namespace. */
export async function readInterfaces(): Promise<string[]> {
  const text = await readFile('/proc/net/dev', 'utf8').catch(() => '')
  return [...text.matchAll(/^\s*(\S+):/gm)].map(([, name = '']) => name)
}

/** Whether there are netkit devices. */
export async function hasNetkit(exec: Exec): Promise<boolean> {
  const keepLine = (line: string) => /\\\s+netkit\b/.test(line)
  const { code, stdout } = await exec('ip', ['-oneline', '-details', 'link', 'show'], { keepLine })
  return code === 0 && stdout !== ''
}
