/** Runs in a network namespace of its own: listens on the broker's addresses before their link exists, then creates the link. */
import { execFileSync } from 'node:child_process'
import { createServer } from 'node:http'
import { BROKER_ADDRESSES } from '../../common/addresses.ts'
import { systemClock } from '../../common/clock.ts'
import { listenAll } from '../../node-guard/broker/server/listen.ts'
import { silentLog } from '../support/log.ts'
import { eventually } from '../support/until.ts'

const ip = (...args: string[]) => execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'ignore'] })
const { bound } = listenAll(BROKER_ADDRESSES, 9171, () => createServer(), {
  clock: systemClock,
  log: silentLog,
})
const addresses = () =>
  bound()
    .map(({ address }) => address)
    .sort()
const keepAlive = setInterval(() => {}, 1000)

const before = addresses()
try {
  ip('link', 'add', 'pod2iam0', 'type', 'dummy')
} catch {
  // As the firewall does where the kernel has no dummy interfaces.
  ip('link', 'add', 'pod2iam0', 'type', 'bridge')
}
ip('link', 'set', 'pod2iam0', 'up')
ip('addr', 'add', '169.254.170.24/32', 'dev', 'pod2iam0')
await eventually('IPv4', () => addresses().length === 1)
// Without `nodad`, so that the address is tentative for a second or two, as on a node.
ip('addr', 'add', 'fd00:70d2:1a::24/128', 'dev', 'pod2iam0')
await eventually('IPv6', () => addresses().length === 2)
process.stdout.write(JSON.stringify({ before, after: addresses() }))
clearInterval(keepAlive)
process.exit(0)
