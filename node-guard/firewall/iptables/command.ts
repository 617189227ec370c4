import { type Exec, type ExecResult, firstLine, isTooBig } from '../process/exec.ts'

/** iptables has two: over nf_tables, and over the old ip_tables. Both see every packet; each sees only its own rules. */
export type Variant = 'nft' | 'legacy'
export type Family = 4 | 6

/** One variant of iptables for one family. */
export type Iptables = {
  readonly exec: Exec
  readonly variant: Variant
  readonly family: Family
  /** How the names of our chains begin. */
  readonly prefix: string
  /** Instead of /run/xtables.lock, where that cannot be written and nobody else would take it (legacy only). */
  readonly lockFile?: string
}

/** Why iptables did not do it. */
export type IptablesFailure = {
  readonly ok: false
  readonly detail: string
  /** It never will on this machine, as it is. */
  readonly unusable: boolean
  /** Perhaps because another changed the rules since they were read. */
  readonly raced?: true
  /** For want of memory. */
  readonly tooBig?: true
}

/** Another's restore of a node's rules takes this long at worst; seconds. */
const LOCK_WAIT = 5

/** Runs `iptables-restore --noflush`: others' rules stay, each table is one transaction. */
export async function restore(
  tool: Iptables,
  input: string,
): Promise<{ readonly ok: true } | IptablesFailure> {
  const wait = tool.variant === 'legacy' ? ['--wait', String(LOCK_WAIT)] : []
  const result = await tool.exec(command(tool, 'restore'), ['--noflush', ...wait], {
    input,
    ...(tool.lockFile === undefined ? {} : { env: { XTABLES_LOCKFILE: tool.lockFile } }),
  })
  return result.code === 0 ? { ok: true } : failure(tool, result)
}

/** The name of the program. */
export const command = ({ family, variant }: Iptables, what?: 'save' | 'restore') =>
  [`ip${family === 6 ? '6' : ''}tables`, variant, ...(what === undefined ? [] : [what])].join('-')

/** Why it failed, as one sentence with the remedy. */
export function failure(tool: Iptables, result: ExecResult): IptablesFailure {
  const why = whyFailed(tool, result)
  return isTooBig(result) ? { ...why, tooBig: true } : why
}

function whyFailed(tool: Iptables, result: ExecResult): IptablesFailure {
  const name = command(tool)
  const said = firstLine(result)
  const { code, stderr } = result
  const no = (detail: string, unusable = false): IptablesFailure => ({ ok: false, detail, unusable })
  if (code === 'missing')
    return no(`${name} cannot be run (${said}): use the pod2iam image, or install iptables`, true)
  if (code === 'timeout') return no(`${name} did not end in time: the machine is overloaded`)
  if (/holding the xtables lock/i.test(stderr))
    return no(
      `${name} waited ${LOCK_WAIT} s for /run/xtables.lock in vain: find who holds it (fuser /run/xtables.lock); this is tried again`,
    )
  if (/can't open lock file/i.test(stderr))
    return no(
      `${name} cannot open its lock file (${said}): mount the node's /run/xtables.lock writable, and free space where its disk is full`,
    )
  // ip_tables wants a raw socket, and without the capability for it says one or the other.
  if (tool.variant === 'legacy' && /cannot initialize|initialize table/i.test(stderr))
    return no(
      `${name} cannot use the kernel's tables (${said}): give this container the capabilities NET_ADMIN and NET_RAW, or load the modules ip_tables and ip6_tables`,
      true,
    )
  if (/permission denied|operation not permitted|must be root/i.test(stderr))
    return no(
      `${name} was not permitted to work (${said}): run this container as root with the NET_ADMIN capability`,
    )
  if (/no chain\/target\/match by that name|couldn't load|not supported|no such file/i.test(stderr)) {
    const modules =
      'xt_addrtype, xt_conntrack, xt_nat, ipt_REJECT, ip6t_REJECT, ipt_rpfilter and ip6t_rpfilter'
    // It is also said of a rule that was to be deleted and is gone.
    return {
      ...no(
        `this kernel cannot do what the rules need (${name}: ${said}): load the modules ${modules}`,
        true,
      ),
      raced: true,
    }
  }
  return { ...no(`${name} failed: ${said}`), raced: true }
}
