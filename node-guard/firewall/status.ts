import { STATE_DIR } from '../../common/addresses.ts'
import { flag, settingsOrExit, text } from '../../common/settings.ts'
import type { Status } from './guard/report.ts'
import { readStatus } from './status-file.ts'

const STATUS_SETTINGS = {
  json: flag(false, 'print one JSON object'),
  stateDir: text(STATE_DIR, 'directory in which the guard writes its state'),
}

/** `firewall status`: what the guard of this node last saw. Exit code 1 where no guard has reported, or without block. */
export async function runStatus(argv: readonly string[]): Promise<void> {
  const settings = settingsOrExit('pod2iam firewall status', STATUS_SETTINGS, argv)
  const status = await readStatus(settings.stateDir)
  if (status === undefined) {
    process.stderr.write(
      `pod2iam firewall status: no guard has reported in ${settings.stateDir}: run this in the firewall container of the node guard, or name its --state-dir.\n`,
    )
    process.exit(1)
  }
  process.stdout.write(settings.json ? `${JSON.stringify(status)}\n` : statusText(status, Date.now()))
  process.exitCode = status.verified ? 0 : 1
}

/** The status as a person reads it. */
export function statusText(status: Status, now: number): string {
  const { verified, verifiedAt, mode, leftovers, warnings, audit } = status
  const age =
    verifiedAt === null ? 'never' : `${Math.round((now - Date.parse(verifiedAt)) / 1000)}s ago, ${verifiedAt}`
  const what = mode === 'remove' ? 'rules removed' : 'block verified'
  const lines = [
    ['backend', status.backend],
    ['mode', mode],
    [what, `${verified ? 'yes' : 'NO'} (${age})`],
    ['owned table', status.ownedTable ? 'yes' : 'no'],
    ['refused packets', String(status.refusedPackets)],
    ['repairs', String(status.repairs)],
    ['broker link', status.brokerLink],
    ...warnings.map(({ code, detail }) => ['warning', `${code}: ${detail}`]),
    ...leftovers.map(({ kind, rule, remove }) => [
      'leftover',
      `${kind}: ${rule}\n${' '.repeat(18)}remove it: ${remove}`,
    ]),
    ...audit.map(({ address, via, packets, lastSeen }) => [
      'seen',
      `${address} ${via}, ${packets} packets, last ${lastSeen}`,
    ]),
  ]
  return `${lines.map(([name = '', value]) => `${name.padEnd(18)}${value}`).join('\n')}\n`
}
