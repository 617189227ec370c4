/** A node: namespaces for everything that a machine has for itself, and the programs that run in them. */
import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { peer } from '../peers/peers.ts'
import { DEFAULT_PATH, tool } from '../sandbox/node/tools.ts'
import type { Program } from '../sandbox/real/logged.ts'
import { makeCgroups, removeCgroups } from './cgroups.ts'
import { CONTROL_PLANE, type NodePlan } from './layout.ts'
import { type NodeSite, nodeFiles, RUNC } from './node-files.ts'
import { command, started, startProgram } from './program.ts'
import { SWITCH } from './switch.ts'

const BOOT = fileURLToPath(new URL('boot.sh', import.meta.url))
/** The directory of `systemctl`. */
const SYSTEMD = fileURLToPath(new URL('systemd', import.meta.url))
/** The namespaces of a node; they end with the `unshare` that starts them. */
export const BOOT_NAMESPACES = ['--mount', '--pid', '--uts', '--net', '--fork', '--kill-child'] as const
/** Restarts kubelet as its systemd unit does: it exits when containerd listens already, but is not ready yet. */
const AGAIN = ['/bin/sh', '-c', 'while :; do "$@"; sleep 1; done', 'sh'] as const
const SOCKET = '/run/containerd/containerd.sock'

export class Node {
  readonly plan: NodePlan
  readonly #site: NodeSite
  readonly #others: readonly NodePlan[]
  #machine: Program | undefined
  #programs: readonly Program[] = []

  /** @param others the nodes whose pods it reaches */
  constructor(plan: NodePlan, site: NodeSite, others: readonly NodePlan[]) {
    this.plan = plan
    this.#site = site
    this.#others = others
  }

  get #cgroup(): string {
    return join(this.#site.cgroup, this.plan.name)
  }

  /** Boots the node: new namespaces, links and routes, and the disks as they were. */
  async powerOn(): Promise<void> {
    const { own } = this.#site
    for (const [name, text] of Object.entries(nodeFiles(this.plan, this.#site))) {
      await mkdir(dirname(join(own, name)), { recursive: true })
      await writeFile(join(own, name), text, { mode: name === RUNC ? 0o700 : 0o600 })
    }
    rmSync(join(own, 'up'), { force: true })
    makeCgroups(this.#cgroup)
    const bootId = randomUUID()
    const boot = [
      tool('unshare'),
      ...BOOT_NAMESPACES,
      '--',
      BOOT,
      own,
      this.plan.name,
      bootId,
      this.#site.cgroups,
    ]
    this.#machine = this.#start('boot', boot)
    await started(
      `The boot of ${this.plan.name}`,
      this.#machine,
      () => existsSync(join(own, 'up')) || undefined,
    )
    await this.#connect()
    await this.#startPrograms()
  }

  /** Runs a script for `/bin/sh` in it, as root. @throws Error with its output when it fails */
  async run(script: string): Promise<void> {
    const file = join(this.#site.own, 'script')
    await writeFile(file, script)
    const inside = this.#enter('--mount', '--pid', '--uts', '--net')
    await command([...inside, tool('env'), `PATH=${SYSTEMD}:${DEFAULT_PATH}`, '/bin/sh', file])
  }

  /** The program that ended although it should run, with its last output. */
  ended(): string | undefined {
    return [this.#machine, ...this.#programs].map((program) => program?.ended()).find(Boolean)
  }

  /** Like a power cut: processes, containers, rules, links and mounts are gone at once. */
  async powerOff(): Promise<void> {
    // The first process of the PID namespace ends with `unshare`, and all others with it.
    await this.#machine?.kill()
    await Promise.all(this.#programs.map((program) => program.kill()))
    await removeCgroups(this.#cgroup)
    await started(`The end of ${this.plan.link}`, undefined, async () =>
      existsSync(`/sys/class/net/${this.plan.link}`) ? undefined : true,
    )
  }

  /** Adds a link to the switch, and the routes to the pods of the other nodes. */
  async #connect(): Promise<void> {
    const { link, address } = this.plan
    const ip = (...words: string[]) => command([tool('ip'), ...words])
    const here = (...words: string[]) => command([...this.#enter('--net'), ...words])
    await ip('link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(this.#pid))
    await ip('link', 'set', link, 'master', SWITCH, 'up')
    for (const device of ['lo', 'eth0']) await here(tool('ip'), 'link', 'set', device, 'up')
    await here(tool('ip'), 'addr', 'add', `${address}/24`, 'dev', 'eth0')
    await here(tool('ip'), 'route', 'add', 'default', 'via', CONTROL_PLANE)
    for (const other of this.#others)
      await here(tool('ip'), 'route', 'add', other.subnet, 'via', other.address)
    for (const setting of ['net.ipv4.ip_forward=1', 'net.bridge.bridge-nf-call-iptables=1'])
      await here(tool('sysctl'), '--quiet', '--write', setting)
  }

  async #startPrograms(): Promise<void> {
    const { own, shared } = this.#site
    const { name, address } = this.plan
    const inside = this.#enter('--mount', '--pid', '--uts', '--net')
    const start = (program: string, ...flags: string[]) =>
      this.#start(program, [...inside, peer(program) ?? program, ...flags])
    const keep = (program: string, ...flags: string[]) =>
      this.#start(program, [...inside, ...AGAIN, peer(program) ?? program, ...flags])
    const containerd = start('containerd', '--config', join(own, 'containerd.toml'))
    this.#programs = [containerd]
    await started(
      `containerd of ${name}`,
      containerd,
      async () => existsSync(`/proc/${this.#pid}/root${SOCKET}`) || undefined,
    )
    const kubeconfig = ['--kubeconfig', join(shared, `${name}.kubeconfig`)]
    const kubelet = ['--config', join(own, 'kubelet.json'), ...kubeconfig, '--node-ip', address]
    this.#programs = [
      containerd,
      keep('kubelet', ...kubelet, '--hostname-override', name),
      start('kube-proxy', '--config', join(own, 'kube-proxy.json')),
    ]
  }

  #enter(...namespaces: readonly string[]): string[] {
    return [tool('nsenter'), '--target', String(this.#pid), ...namespaces, '--']
  }

  #start(program: string, argv: readonly string[]): Program {
    return startProgram(`${program} of ${this.plan.name}`, argv, join(this.#site.own, `${program}.log`))
  }

  /** The PID of the node's first process, as this process sees it. */
  get #pid(): number {
    const pid = this.#machine?.child.pid
    const [first] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').map(Number)
    if (first === undefined || first === 0) throw new Error(`${this.plan.name} is off`)
    return first
  }
}
