import { STATE_DIR } from '../../../common/addresses.ts'
import { flag, settingsOrExit, text } from '../../../common/settings.ts'
import { readNatRules, redirectsOf } from '../iptables/nat-rules.ts'
import { withDeadline } from '../process/bounded.ts'
import { exec } from '../process/exec.ts'
import { currentStatus, readStatus } from './file.ts'
import { thisNetwork, withFreshLeftovers } from './leftovers.ts'
import { missingStatus } from './status.ts'
import { statusText } from './text.ts'

const STATUS_SETTINGS = {
  json: flag(false, 'print one JSON object'),
  stateDir: text(STATE_DIR, 'directory in which the guard writes its state'),
}

/** Reading the tables takes a few hundredths of a second; on a busy node the operator should not wait longer than this. */
const LOOK_MS = 5000

/**
 * `firewall status`: what the guard of this node last saw, and leftovers as they are now. Exit code 1 where no guard has
 * reported, or nothing is verified. With `--json` it always prints the object of the contract.
 */
export async function runStatus(argv: readonly string[]): Promise<void> {
  const settings = settingsOrExit('pod2iam firewall status', STATUS_SETTINGS, argv)
  const read = await readStatus(settings.stateDir)
  if (!read.ok) {
    if (settings.json)
      process.stdout.write(`${JSON.stringify(missingStatus({ code: read.code, detail: read.detail }))}\n`)
    else process.stderr.write(`pod2iam firewall status: ${read.detail}.\n`)
    process.exitCode = 1
    return
  }
  const now = Date.now
  const boundedExec = withDeadline(LOOK_MS, exec)
  const status = await withFreshLeftovers(currentStatus(read.written, now()), {
    lookedAt: read.written.lookedAt,
    network: await thisNetwork(),
    readNatRules: (metadata) => readNatRules(boundedExec, redirectsOf(metadata)),
    now,
  })
  process.stdout.write(settings.json ? `${JSON.stringify(status)}\n` : statusText(status, now()))
  process.exitCode = status.verified ? 0 : 1
}
