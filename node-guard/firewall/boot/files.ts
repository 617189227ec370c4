/** What goes onto a node, besides the rules: a systemd unit, and a shell script that puts both there. */
import { VERSION } from '../../../common/version.ts'

export const RULES_PATH = '/etc/pod2iam/boot.nft'
export const UNIT = 'pod2iam-boot.service'
export const UNIT_PATH = `/etc/systemd/system/${UNIT}`
/** What runs pods, or brings what runs them: kubelets by the names of kubeadm and EKS, k3s, RKE2 and k0s. */
const KUBELETS = ['kubelet', 'k3s', 'k3s-agent', 'rke2-server', 'rke2-agent', 'k0scontroller', 'k0sworker']
const RUNTIMES = ['containerd', 'crio', 'docker']
/** What flushes all rules when it starts. */
const FLUSHING = ['nftables', 'iptables', 'firewalld']

const services = (names: readonly string[]) => names.map((name) => `${name}.service`).join(' ')

/** The rules with a head that says where they come from. */
export function rulesFile(rules: string): string {
  return `#!/usr/sbin/nft -f
# Shuts the instance metadata endpoint to pods from boot until pod2iam's node guard takes over.
# Printed by pod2iam ${VERSION}: firewall boot-rules. Not to be edited: print it anew instead.
${rules}`
}

/**
 * The unit. Before the network is up, after what flushes rules; without it no kubelet: a node whose rules cannot be
 * loaded must not run pods.
 */
export function unitFile(): string {
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
ExecStart=/usr/sbin/nft -f ${RULES_PATH}
ExecReload=/usr/sbin/nft -f ${RULES_PATH}

[Install]
WantedBy=multi-user.target
RequiredBy=${services(KUBELETS)}
`
}

/** A script for user data: writes both files and loads the rules now and at every boot. Safe to run again. */
export function userData(rules: string): string {
  return `#!/bin/sh
# pod2iam ${VERSION}: this node shuts the instance metadata endpoint to pods before its kubelet starts.
set -eu
mkdir -p ${dirOf(RULES_PATH)}
cat >${RULES_PATH} <<'END_OF_RULES'
${rulesFile(rules)}END_OF_RULES
cat >${UNIT_PATH} <<'END_OF_UNIT'
${unitFile()}END_OF_UNIT
systemctl daemon-reload
systemctl enable ${UNIT}
# Reloaded where it is active: a restart of what the kubelet requires would restart that, too.
if ! systemctl reload-or-restart ${UNIT}; then
  echo 'pod2iam: the rules could not be loaded, so this node gets no kubelet; is the package nftables in its image? (journalctl -u ${UNIT})' >&2
  exit 1
fi
`
}

const dirOf = (path: string) => path.slice(0, path.lastIndexOf('/'))
