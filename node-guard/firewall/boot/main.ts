import { oneOf, settingsOrExit } from '../../../common/settings.ts'
import { ADDRESS_SETTINGS } from '../shared-settings.ts'
import { BOOT_BACKENDS, rulesFile, unitFile, userData } from './files.ts'

export const BOOT_SETTINGS = {
  backend: oneOf(
    BOOT_BACKENDS,
    'nft',
    'nft: rules of nftables; iptables: of iptables, for nodes whose kernel or image has no nftables',
  ),
  print: oneOf(
    ['user-data', 'rules', 'unit'],
    'user-data',
    'user-data: a shell script with both files; rules: the file for nft, or the script for iptables; unit: the file for systemd',
  ),
  ...ADDRESS_SETTINGS,
}

/** `firewall boot-rules`: prints rules that block the endpoint before the node's kubelet starts; changes nothing. */
export function runBootRules(argv: readonly string[]): void {
  const settings = settingsOrExit('pod2iam firewall boot-rules', BOOT_SETTINGS, argv)
  const addresses = { metadata: settings.metadataAddress, broker: settings.brokerAddress }
  const print = { 'user-data': userData, rules: rulesFile, unit: unitFile }[settings.print]
  process.stdout.write(print(settings.backend, addresses))
}
