import { failed } from '../../../common/result.ts'
import { type Exec, type ExecResult, firstLine, isTooBig } from '../process/exec.ts'
import { type Failure, unusable } from '../process/failure.ts'
import type { Family, Variant } from '../rules/iptables.ts'

/** One variant of iptables for one family. */
export type Iptables = {
  readonly exec: Exec
  readonly variant: Variant
  readonly family: Family
  /** Prefix of the names of our chains. */
  readonly prefix: string
  /** A rule that may be before our jump in a built-in chain, without the name of that chain, with which it ends. */
  readonly precedingJump?: string
  /** Whether rules are written with initial values of their counters. */
  readonly counters?: true
  /** The modules that our rules need, where they are not those of the guard. */
  readonly modules?: string
  /** Instead of /run/xtables.lock, where that is not writable and no other process uses it (legacy only). */
  readonly lockFile?: string
}

/** How long to wait for the lock, seconds: as long as another program's restore of all rules takes at most. */
const LOCK_WAIT = 5

/** Runs `iptables-restore --noflush`: other programs' rules are kept, and each table is one transaction. */
export async function restore(tool: Iptables, input: string): Promise<{ readonly ok: true } | Failure> {
  const wait = tool.variant === 'legacy' ? ['--wait', String(LOCK_WAIT)] : []
  const result = await tool.exec(
    command(tool, 'restore'),
    ['--noflush', ...(tool.counters ? ['--counters'] : []), ...wait],
    {
      input,
      ...(tool.lockFile === undefined ? {} : { env: { XTABLES_LOCKFILE: tool.lockFile } }),
    },
  )
  return result.code === 0 ? { ok: true } : failure(tool, result)
}

/** The name of the program. */
export const command = ({ family, variant }: Iptables, what?: 'save' | 'restore') =>
  [`ip${family === 6 ? '6' : ''}tables`, variant, ...(what === undefined ? [] : [what])].join('-')

/** Why it failed, as one sentence with the remedy. */
export function failure(tool: Iptables, result: ExecResult): Failure {
  const why = whyFailed(tool, result)
  return isTooBig(result) ? { ...why, tooBig: true } : why
}

function whyFailed(tool: Iptables, result: ExecResult): Failure {
  const name = command(tool)
  const message = firstLine(result)
  const { code, stderr } = result
  if (code === 'missing')
    return unusable(`${name} cannot be run (${message}): use the pod2iam image, or install iptables`)
  if (code === 'timeout') return failed(`${name} did not end in time: the machine is overloaded`)
  if (/holding the xtables lock/i.test(stderr))
    return failed(
      `${name} could not get /run/xtables.lock within ${LOCK_WAIT} s: find the process that holds it (fuser /run/xtables.lock); this is tried again`,
    )
  if (/can't open lock file/i.test(stderr))
    return failed(
      `${name} cannot open its lock file (${message}): mount the node's /run/xtables.lock writable, and free space if its disk is full`,
    )
  // ip_tables needs a raw socket; without the capability for it, the message is one of these.
  if (tool.variant === 'legacy' && /cannot initialize|initialize table/i.test(stderr))
    return unusable(
      `${name} cannot use the kernel's tables (${message}): give this container the capabilities NET_ADMIN and NET_RAW, or load the modules ip_tables and ip6_tables`,
    )
  if (/permission denied|operation not permitted|must be root/i.test(stderr))
    return failed(
      `${name} was not permitted to work (${message}): run this container as root with the NET_ADMIN capability`,
    )
  if (/no chain\/target\/match by that name|couldn't load|not supported|no such file/i.test(stderr)) {
    const modules =
      tool.modules ??
      'xt_addrtype, xt_conntrack, xt_nat, ipt_REJECT, ip6t_REJECT, ipt_rpfilter and ip6t_rpfilter'
    // The same message appears for a rule that was to be deleted and is gone.
    return {
      ...unusable(
        `this kernel cannot do what the rules need (${name}: ${message}): load the modules ${modules}`,
      ),
      raced: true,
    }
  }
  return { ...failed(`${name} failed: ${message}`), raced: true }
}
