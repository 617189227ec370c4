import { readFile } from 'node:fs/promises'
import type { NatRule } from '../iptables/nat-rules.ts'
import type { Exec } from '../process/exec.ts'

/** Cilium's comment on the rule by which it masquerades with iptables. */
export const CILIUM_MASQUERADE = 'cilium masquerade non-cluster'

/** The device by which Cilium is recognised. */
export const CILIUM_DEVICE = 'cilium_host'
/** Its chains for masquerading; the second one while it replaces the first. */
export const CILIUM_CHAINS = ['CILIUM_POST_nat', 'OLD_CILIUM_POST_nat'] as const

/** What is visible of a node's dataplane in its network namespace. */
type DataplaneFacts = {
  /** Names of all interfaces. */
  readonly interfaces: readonly string[]
  /** Whether some of them are netkit devices. */
  readonly netkit: boolean
  /** Rules of nat tables that contain {@link CILIUM_MASQUERADE}. */
  readonly natRules: readonly NatRule[]
}

/** Why the packets of pods bypass netfilter, or may, and what to do about it. */
export type Bypass = { readonly why: string; readonly remedy: string }

/**
 * Why the packets of pods may bypass netfilter, so that correct rules refuse nothing; undefined if there is no sign of
 * it.
 *
 * - netkit devices: Cilium uses them with eBPF host routing only (Cilium's tuning guide).
 * - Cilium with veth devices: eBPF host routing unless it masquerades by iptables, with which it falls back to the
 *   host's stack (its agent logs "BPF host routing requires enable-bpf-masquerade"). Other reasons for falling back are
 *   not visible here; the operator states them by `--dataplane=netfilter`.
 * - Calico's eBPF dataplane, recognised by its devices.
 */
export function whyBypassed({ interfaces, netkit, natRules }: DataplaneFacts): Bypass | undefined {
  const cilium = interfaces.includes(CILIUM_DEVICE)
  if (netkit)
    return {
      why: 'pods of this node have netkit devices, whose packets bypass netfilter',
      remedy:
        'refuse the metadata addresses by a CiliumClusterwideNetworkPolicy, require IMDSv2 with hop limit 1, or use veth devices with bpf.hostLegacyRouting=true',
    }
  if (cilium && !natRules.some(({ rule }) => rule.includes(CILIUM_MASQUERADE)))
    return {
      why: 'Cilium runs here and does not masquerade by iptables, so that packets may bypass netfilter (eBPF host routing)',
      remedy:
        'set bpf.hostLegacyRouting=true in Cilium; if `cilium status` says "Host: Legacy", set --dataplane=netfilter',
    }
  if (interfaces.includes('bpfin.cali') || interfaces.includes('bpfout.cali'))
    return {
      why: 'Calico’s eBPF dataplane runs here, with which packets may bypass netfilter',
      remedy:
        'use Calico’s iptables or nftables dataplane; if pods are known to be refused, set --dataplane=netfilter',
    }
  return undefined
}

/** The interfaces of eBPF dataplanes, sorted, as one text: when it changes, the dataplane has to be checked again. */
export const markers = (interfaces: readonly string[]) =>
  interfaces
    .filter((name) => name === CILIUM_DEVICE || /^bpf(?:in|out)\.cali$/.test(name))
    .sort()
    .join(' ')

/** Names of the interfaces of this network namespace; empty if they cannot be read. */
export async function readInterfaces(): Promise<string[]> {
  const text = await readFile('/proc/net/dev', 'utf8').catch(() => '')
  return [...text.matchAll(/^\s*(\S+):/gm)].map(([, name = '']) => name)
}

/** Whether there are netkit devices; false also if `ip` fails. */
export async function hasNetkit(exec: Exec): Promise<boolean> {
  const keepLine = (line: string) => /\\\s+netkit\b/.test(line)
  const { code, stdout } = await exec('ip', ['-oneline', '-details', 'link', 'show'], { keepLine })
  return code === 0 && stdout !== ''
}
