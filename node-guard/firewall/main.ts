/**
 * The firewall, one file with six commands: `guard`, `host-network`, `redirect`, `remove --open-this-node`, `status`, `boot-rules`. Each command's
 * code is imported when it is asked for: the gate (`redirect`) runs before every pod's app and must not load the
 * guard's logger and HTTP server.
 */
import { messageOf } from '../../common/errors.ts'
import { VERSION } from '../../common/version.ts'
import { reduceMemoryUse } from './process/memory.ts'

const HELP = `pod2iam firewall ${VERSION}

Commands (each with --help):
  guard                     keeps the block on the real metadata endpoint for every pod of this node
  host-network              counts or refuses what pods on the host network send to it, beside the guard
  redirect                  the pod's gate: proves the block, loads the pod's redirect, waits for its sidecar
  remove --open-this-node   takes the guard's rules and link away, once
  status [--json]           what the guard of this node last saw
  boot-rules                prints what shuts a node before its kubelet starts
`

async function main(command: string | undefined, argv: readonly string[]): Promise<void> {
  switch (command) {
    case 'guard':
      reduceMemoryUse()
      return (await import('./guard/main.ts')).runGuard(argv)
    case 'host-network':
      reduceMemoryUse()
      return (await import('./host-network/main.ts')).runHostNetwork(argv)
    case 'redirect':
      return (await import('./gate/main.ts')).runGate(argv)
    case 'remove':
      return (await import('./remove/main.ts')).runRemove(argv)
    case 'status':
      return (await import('./status/main.ts')).runStatus(argv)
    case 'boot-rules':
      return (await import('./boot/main.ts')).runBootRules(argv)
    case '--help':
      process.stdout.write(HELP)
      return
    case '--version':
      process.stdout.write(`${VERSION}\n`)
      return
    default:
      process.stderr.write(
        `pod2iam firewall: ${command === undefined ? 'a command is missing' : `${JSON.stringify(command)} is not a command`}; there are guard, host-network, redirect, remove, status and boot-rules.\n`,
      )
      process.exit(2)
  }
}

main(process.argv[2], process.argv.slice(3)).catch((error: unknown) => {
  process.stderr.write(`pod2iam firewall: ${messageOf(error)}\n`)
  process.exit(1)
})
