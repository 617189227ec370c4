/** What a node gets besides the rules: a systemd unit, and a shell script that installs both. */
import { VERSION } from '../../../common/version.ts'
import { iptablesBootRules } from './iptables-script.ts'
import { type BootAddresses, bootRules } from './rules.ts'

export const UNIT = 'pod2iam-boot.service'
const UNIT_PATH = `/etc/systemd/system/${UNIT}`
/** Services that run pods: the kubelet as kubeadm and EKS call it, and the services of k3s, RKE2 and k0s. */
const KUBELETS = ['kubelet', 'k3s', 'k3s-agent', 'rke2-server', 'rke2-agent', 'k0scontroller', 'k0sworker']
const RUNTIMES = ['containerd', 'crio', 'docker']
/** Services that flush all rules when they start. */
const FLUSHING = ['nftables', 'iptables', 'ip6tables', 'netfilter-persistent', 'firewalld']

const services = (names: readonly string[]) => names.map((name) => `${name}.service`).join(' ')

/** The ways in which a node loads rules at boot. */
export const BOOT_BACKENDS = ['nft', 'iptables'] as const
export type BootBackend = (typeof BOOT_BACKENDS)[number]

type Form = {
  readonly path: string
  /** The command that loads the file. */
  readonly command: string
  /** A package of the node's distribution. */
  readonly needs: string
  readonly rules: (addresses: BootAddresses) => { readonly file: string; readonly marker: string }
}

const FORMS: Readonly<Record<BootBackend, Form>> = {
  nft: { path: '/etc/pod2iam/boot.nft', command: '/usr/sbin/nft -f', needs: 'nftables', rules: bootRules },
  iptables: {
    path: '/etc/pod2iam/boot-iptables.sh',
    command: '/bin/sh',
    needs: 'iptables',
    rules: iptablesBootRules,
  },
}

/** The markers of the rules of all forms: by these the guard recognises them. */
export const bootMarkers = (addresses: BootAddresses): readonly string[] =>
  BOOT_BACKENDS.map((backend) => FORMS[backend].rules(addresses).marker)

/** The rules, with a header that says where they come from. */
export function rulesFile(backend: BootBackend, addresses: BootAddresses): string {
  const { command, rules } = FORMS[backend]
  return `#!${command}
# Shuts the instance metadata endpoint to pods from boot until pod2iam's node guard takes over.
# Printed by pod2iam ${VERSION}: firewall boot-rules. Not to be edited: print it anew instead.
${rules(addresses).file}`
}

/**
 * The systemd unit: before the network is up, and after the services that flush rules. The kubelet requires it, since a
 * node whose rules cannot be loaded must not run pods.
 */
export function unitFile(backend: BootBackend): string {
  const { command, path } = FORMS[backend]
  return `# Printed by pod2iam ${VERSION}: firewall boot-rules.
[Unit]
Description=Instance metadata endpoint shut to pods until pod2iam's node guard runs
DefaultDependencies=no
RequiresMountsFor=/etc /usr
After=local-fs.target systemd-modules-load.service ${services(FLUSHING)}
Wants=network-pre.target
Before=network-pre.target ${services([...RUNTIMES, ...KUBELETS])}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=${command} ${path}
ExecReload=${command} ${path}

[Install]
WantedBy=multi-user.target
RequiredBy=${services(KUBELETS)}
`
}

/** A script for user data: writes both files, and loads the rules now and at every boot. It can be run repeatedly. */
export function userData(backend: BootBackend, addresses: BootAddresses): string {
  const { path, needs } = FORMS[backend]
  const others = BOOT_BACKENDS.filter((other) => other !== backend).map((other) => FORMS[other].path)
  return `#!/bin/sh
# pod2iam ${VERSION}: this node shuts the instance metadata endpoint to pods before its kubelet starts.
set -eu
mkdir -p ${dirOf(path)}
rm -f ${others.join(' ')}
cat >${path} <<'END_OF_RULES'
${rulesFile(backend, addresses)}END_OF_RULES
cat >${UNIT_PATH} <<'END_OF_UNIT'
${unitFile(backend)}END_OF_UNIT
systemctl daemon-reload
systemctl enable ${UNIT}
# Reloaded where it is active: a restart of what the kubelet requires would restart that, too.
if ! systemctl reload-or-restart ${UNIT}; then
  echo 'pod2iam: the rules could not be loaded, so this node gets no kubelet; is the package ${needs} in its image? (journalctl -u ${UNIT})' >&2
  exit 1
fi
`
}

const dirOf = (path: string) => path.slice(0, path.lastIndexOf('/'))
