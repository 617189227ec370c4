/** The shell script that turns a fresh mount and PID namespace into a container and becomes its process. Pure. */
import { type ProcessSecurity, setprivArguments } from './security.ts'
import { shellQuote } from './tools.ts'

export type LaunchPlan = {
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  readonly security: ProcessSecurity
  /** In a user namespace with one uid. */
  readonly oneUid: boolean
  readonly hostname: string
  /** Paths of the container's tree and of its fstab(5), in the machine. */
  readonly root: string
  readonly fstab: string
}

/** File descriptor on which the script reports: `pid N` just before the container's first instruction, or what failed. */
export const STATUS_FD = 3

/** Runs as PID 1 of the container's PID namespace. Errors of the setup are written to the status descriptor, not to the log. */
export function launchScript(plan: LaunchPlan): string {
  const { root, security } = plan
  // The real root owns the file, but the root user of the user namespace may make the system call.
  const hostname = shellQuote(plan.hostname)
  const command = execute(plan.argv, plan.env, security, plan.oneUid)
  return `set -e
umask 022
exec 4>&2 2>&${STATUS_FD}
read -r pid rest </proc/self/stat
{ echo ${hostname} >/proc/sys/kernel/hostname; } 2>/dev/null || hostname ${hostname}
mount -n -a -T ${shellQuote(plan.fstab)}
cd ${shellQuote(root)}
mkdir .old
pivot_root . .old
cd /
umount -n -l /.old
rmdir /.old
${security.readOnlyRoot ? 'mount -n -o remount,bind,ro /' : ''}
cd ${shellQuote(plan.cwd)}
PATH=${shellQuote(plan.env.PATH ?? '')} command -v -- ${shellQuote(plan.argv[0] ?? '')} >/dev/null || {
  echo ${shellQuote(`exec: "${plan.argv[0]}": executable file not found in $PATH`)} >&2
  exit 127
}
echo "pid $pid" >&${STATUS_FD}
exec 2>&4 ${STATUS_FD}>&- 4>&-
exec ${command.map(shellQuote).join(' ')}
`
}

/** A command with the container's identity and environment, as argv. */
export function execute(
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  security: ProcessSecurity,
  oneUid: boolean,
): string[] {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  return ['env', '-i', ...variables, '/usr/bin/setpriv', ...setprivArguments(security, oneUid), '--', ...argv]
}
