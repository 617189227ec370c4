import { BROKER_LINK } from '../../../common/addresses.ts'
import { flag, settingsOrExit } from '../../../common/settings.ts'
import { BOOT_UNIT_LEFT } from '../boot/installed.ts'
import { exec } from '../process/exec.ts'
import { removeAll } from './removal.ts'

const REMOVE_SETTINGS = {
  openThisNode: flag(
    false,
    'confirms that every pod of this node may reach the real metadata endpoint from now on',
  ),
}

/** `firewall remove --open-this-node`: removes the rules and the link once, by hand. */
export async function runRemove(argv: readonly string[]): Promise<void> {
  const settings = settingsOrExit('pod2iam firewall remove', REMOVE_SETTINGS, argv)
  if (!settings.openThisNode) {
    process.stderr.write(
      'pod2iam firewall remove: this lets every pod of this node reach the real metadata endpoint and the node role; confirm it with --open-this-node. Nothing was changed.\n',
    )
    process.exit(2)
  }
  const { failed, skipped, bootRules } = await removeAll(exec)
  if (failed !== undefined) {
    process.stderr.write(`pod2iam firewall remove: ${failed}.\n`)
    process.exit(1)
  }
  process.stdout.write(
    `${skipped.map((detail) => `not looked at: ${detail}\n`).join('')}the guard's rules and its link ${BROKER_LINK} are not on this node any more. A guard that runs here (other than with --mode=remove) puts them back.\n${bootRules ? `And ${BOOT_UNIT_LEFT}.\n` : ''}`,
  )
}
