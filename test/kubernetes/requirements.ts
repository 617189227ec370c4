/** What a machine needs for the cluster, and how it is installed. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { needsBuildah } from '../images/buildah.ts'
import { kubernetesRelease } from '../peers/kubernetes-release.ts'
import { needsPeer, peer } from '../peers/peers.ts'
import { findTool } from '../sandbox/node/tools.ts'

/** What installs the programs below. */
const BUILD = {
  newest: '.ci/peers helm control_plane node_programs image_programs buildah',
  oldest: '.ci/peers helm oldest_control_plane oldest_node_programs image_programs buildah',
}

/** Programs that are built with Go. */
const PEERS = [
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'kubelet',
  'kube-proxy',
  'kubectl',
  'helm',
] as const

/** Commands and the Debian package of each. */
const PACKAGES: Readonly<Record<string, string>> = {
  containerd: 'containerd',
  runc: 'runc',
  buildah: 'buildah',
  nft: 'nftables',
  iptables: 'iptables',
}
const PLUGINS_PACKAGE = 'containernetworking-plugins'
/** The directory that Debian uses, and the usual one. */
const PLUGINS = ['/usr/lib/cni', '/opt/cni/bin'] as const
const APT = ['apt-get', '-qq', '-o=Dpkg::Use-Pty=0', '-o=DPkg::Lock::Timeout=300'] as const

/** The directory that has the CNI plugins which are used. */
export function pluginDirectory(directories: readonly string[] = PLUGINS): string | undefined {
  return directories.find((directory) =>
    ['bridge', 'host-local', 'loopback'].every((plugin) => existsSync(`${directory}/${plugin}`)),
  )
}

/** Debian packages that this machine does not have yet. */
export function missingPackages(has: (command: string) => boolean, plugins: string | undefined): string[] {
  const missing = Object.keys(PACKAGES).filter((command) => !has(command))
  const packages = missing.map((command) => PACKAGES[command] ?? command)
  return plugins === undefined ? [...packages, PLUGINS_PACKAGE] : packages
}

const present = () => missingPackages((command) => findTool(command) !== undefined, pluginDirectory())

/** Installs the Debian packages if this is Debian; returns what is still missing then, a sentence each. */
export function provide(progress: (line: string) => void): string[] {
  if (process.platform !== 'linux' || process.getuid?.() !== 0)
    return ['it makes namespaces, mounts and cgroups: run it as root on Linux']
  const packages = present()
  if (packages.length > 0 && findTool('apt-get') !== undefined) {
    progress(`installing ${packages.join(', ')} (apt-get)`)
    if (!install(packages)) {
      apt('update')
      install(packages)
    }
  }
  const absent = present().map((name) => `the Debian package ${name} is not installed`)
  const peers = PEERS.filter((name) => peer(name) === undefined).map(
    (name) =>
      `${needsPeer(name).skip?.replace(/\.ci\/peers[a-z_ ]*(?= brings)/, BUILD[kubernetesRelease()])}`,
  )
  const { skip } = absent.length > 0 ? {} : needsBuildah()
  const go =
    spawnSync('go', ['version']).status === 0
      ? []
      : ['go is not installed; the pause of pods is built with it']
  // Without it, pods of one node would not receive the answers of its Services.
  const bridges = existsSync('/proc/sys/net/bridge')
    ? []
    : ['the kernel has no br_netfilter; modprobe br_netfilter']
  return [...absent, ...bridges, ...peers, ...(skip === undefined ? [] : [skip]), ...go]
}

function install(packages: readonly string[]): boolean {
  return apt('install', '-y', '--no-install-recommends', ...packages)
}

function apt(...args: readonly string[]): boolean {
  const [command, ...options] = APT
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  return (
    spawnSync(command, [...options, ...args], { stdio: ['ignore', 'ignore', 'inherit'], env }).status === 0
  )
}
