import { STATE_DIR } from '../../common/addresses.ts'
import { flag, settingsOrExit, text } from '../../common/settings.ts'
import { currentStatus, readStatus } from './status-file.ts'
import { statusText } from './status-text.ts'

const STATUS_SETTINGS = {
  json: flag(false, 'print one JSON object'),
  stateDir: text(STATE_DIR, 'directory in which the guard writes its state'),
}

/** `firewall status`: what the guard of this node last saw. Exit code 1 where no guard has reported, or nothing is verified. */
export async function runStatus(argv: readonly string[]): Promise<void> {
  const settings = settingsOrExit('pod2iam firewall status', STATUS_SETTINGS, argv)
  const written = await readStatus(settings.stateDir)
  if (written === undefined) {
    process.stderr.write(
      `pod2iam firewall status: no guard of this release has reported in ${settings.stateDir}: run this in the firewall container of the node guard, or name its --state-dir.\n`,
    )
    process.exit(1)
  }
  const now = Date.now()
  const status = currentStatus(written, now)
  process.stdout.write(settings.json ? `${JSON.stringify(status)}\n` : statusText(status, now))
  process.exitCode = status.verified ? 0 : 1
}
