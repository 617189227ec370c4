/** One pod on the node, from its arrival to its removal: the work of kubelet's pod worker and runtime manager. */
import { rmSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { readData, requestToken } from './cluster-data.ts'
import { ContainerRunner, type PodSide } from './container-runner.ts'
import { readTerminationMessage, startInPod } from './container-start.ts'
import { ContainerConfigError } from './errors.ts'
import { SANDBOX_DIR } from './machine.ts'
import { makeDirectory } from './make-directory.ts'
import type { PodNetwork } from './network.ts'
import type { NodeContext } from './node-context.ts'
import { type Container, isSidecar, type Pod } from './pod.ts'
import { recordWarning } from './pod-events.ts'
import type { Observed } from './pod-status.ts'
import { PodSync } from './pod-sync.ts'
import type { ProjectionSources } from './projection.ts'
import { mountShm, unmountShm } from './shm.ts'
import { Timeline } from './timeline.ts'
import { NODE_NETWORK } from './topology.ts'
import { openVolumes, type PodVolumes } from './volumes.ts'

/** Milliseconds until a missing ConfigMap, Secret or token is requested again. */
const SETUP_RETRY_MS = 300
/** A sidecar gets at least this long after its pod's grace period is used up (kubelet's minimumGracePeriodInSeconds). */
const LEAST_GRACE_MS = 2000

export class PodWorker {
  readonly timeline = new Timeline()
  readonly #node: NodeContext
  readonly #changed: () => void
  readonly #sync: PodSync
  #stop = new AbortController()
  readonly #directory: string
  readonly #startTime = `${new Date().toISOString().slice(0, 19)}Z`
  #pod: Pod
  #network: PodNetwork | undefined
  /** Kept after the network is removed: an ended pod still has its addresses in its status. */
  #addresses: readonly string[] = []
  /** The addresses in its status: those of a new sandbox are reported when its first sync has ended, so after its hooks. */
  #reportedAddresses: readonly string[] = []
  #hasShm = false
  #volumes: PodVolumes | undefined
  #inits: ContainerRunner[] = []
  #apps: ContainerRunner[] = []
  #initialized = false
  #initFailed = false
  #finished = false
  #main: Promise<void> = Promise.resolve()

  /** @param changed called when the pod's status has changed */
  constructor(node: NodeContext, pod: Pod, changed: () => void) {
    this.#node = node
    this.#pod = pod
    this.#changed = changed
    this.#sync = new PodSync(() => {
      this.#reportedAddresses = this.#addresses
      changed()
    })
    this.#directory = `${SANDBOX_DIR}/pods/${pod.metadata.uid}`
    this.timeline.add('scheduled')
    const side = this.#side()
    const { initContainers = [], containers } = pod.spec
    this.#inits = initContainers.map((c) => new ContainerRunner(c, isSidecar(c) ? 'sidecar' : 'init', side))
    this.#apps = containers.map((c) => new ContainerRunner(c, 'app', side))
  }

  get pod(): Pod {
    return this.#pod
  }

  get runners(): readonly ContainerRunner[] {
    return [...this.#inits, ...this.#apps]
  }

  /** Name of its network namespace in the machine; undefined before it has one. */
  get network(): string | undefined {
    return this.#pod.spec.hostNetwork === true ? NODE_NETWORK : this.#network?.network
  }

  /** Whether the kubelet is busy with the pod and therefore reports no status. */
  get syncing(): boolean {
    return this.#sync.busy
  }

  /** The data from which its status is computed. */
  get observed(): Omit<Observed, 'podIPs' | 'hostIPs'> & { podIPs: readonly string[] } {
    return {
      pod: this.#pod,
      podIPs: this.#pod.spec.hostNetwork === true ? this.#node.addresses : this.#reportedAddresses,
      startTime: this.#startTime,
      initContainers: this.#inits.map((runner) => runner.status),
      containers: this.#apps.map((runner) => runner.status),
      initialized: this.#initialized,
      finished: this.#finished,
      initFailed: this.#initFailed,
    }
  }

  start(): void {
    const { signal } = this.#stop
    this.#main = this.#run().catch((error: unknown) => {
      // An error is expected while the machine is ending.
      if (!signal.aborted) throw error
    })
  }

  /** Like the end of the pause process: every container is killed, then all start again in a new network namespace. */
  async restartSandbox(): Promise<void> {
    await this.#endSyncs()
    await this.#stopContainers(0, 0)
    await this.#main
    await this.#teardown()
    this.#stop = new AbortController()
    this.#volumes = undefined
    this.#initialized = this.#initFailed = this.#finished = false
    const side = this.#side()
    const renew = (old: ContainerRunner) => new ContainerRunner(old.container, old.kind, side, old)
    this.#inits = this.#inits.map(renew)
    this.#apps = this.#apps.map(renew)
    this.start()
  }

  /** Leaves everything as it is until the machine ends. */
  abandon(): void {
    this.#stop.abort()
    for (const runner of this.runners) runner.abandon()
    this.#volumes?.close()
  }

  /** Takes over changed labels and annotations, for files of the downward API. */
  update(pod: Pod): void {
    this.#pod = pod
  }

  /** Writes new tokens and the current ConfigMaps, Secrets and fields into its volumes. */
  async refreshVolumes(): Promise<void> {
    await this.#volumes?.refresh(this.#pod)
  }

  /**
   * Stops all containers, the app's first, then sidecars in reverse order, and removes network and volumes. Waits first
   * for a running postStart hook.
   *
   * @param graceMs the grace period of all containers together
   */
  async terminate(graceMs: number): Promise<void> {
    this.timeline.add('deletion-seen')
    await this.#endSyncs()
    await this.#stopContainers(graceMs)
    await this.#main
    await this.#teardown()
    rmSync(this.#node.machine.path(this.#directory), { recursive: true, force: true })
  }

  async #run(): Promise<void> {
    await this.#setUp()
    if (this.#stop.signal.aborted) return
    this.timeline.add('sandbox-ready')
    const initialized = await this.#runInitContainers()
    if (this.#stop.signal.aborted) return
    if (initialized) {
      this.#initialized = true
      this.#changed()
      await Promise.all(this.#superviseApps())
    } else this.#initFailed = true
    if (this.#stop.signal.aborted) return
    await this.#stopSidecars(Date.now() + this.#graceMs())
    this.#finished = true
    this.#changed()
    await this.#teardown()
  }

  /** Creates network and volumes; waits for missing objects, as the kubelet does (`ContainerCreating`). */
  async #setUp(): Promise<void> {
    const { machine, network } = this.#node
    makeDirectory(machine.path(this.#directory))
    await mountShm(machine, this.#directory)
    this.#hasShm = true
    if (this.#pod.spec.hostNetwork !== true) {
      this.#network = await network.addPod()
      this.#addresses = [this.#network.ipv4, this.#network.ipv6]
    }
    const waiting = this.#inits.length === 0 ? 'ContainerCreating' : 'PodInitializing'
    for (const runner of this.#apps) runner.waitBecause(waiting)
    this.#changed()
    while (!this.#stop.signal.aborted && this.#volumes === undefined)
      this.#volumes = await openVolumes(machine, this.#directory, this.#pod, this.#sources()).catch(
        async (error: unknown) => {
          if (!(error instanceof ContainerConfigError)) throw error
          await this.#pause(SETUP_RETRY_MS)
          return undefined
        },
      )
  }

  /** Strictly in order; after a sidecar, the next one starts as soon as the sidecar has started. False when one failed for the last time. */
  async #runInitContainers(): Promise<boolean> {
    for (const runner of this.#inits) {
      if (this.#stop.signal.aborted) return false
      if (runner.kind === 'sidecar') {
        void runner.supervise(() => true)
        await runner.started
      } else if ((await runner.supervise(this.#againInit(runner.container))) !== 0) return false
    }
    return true
  }

  /** In order; each starts when the one before has started, including its hook. */
  #superviseApps(): Promise<number | undefined>[] {
    return this.#sync.together(() =>
      this.#apps.map((runner) => runner.supervise(this.#again(runner.container))),
    )
  }

  #again({ restartPolicy }: Container): (exitCode: number) => boolean {
    const policy = restartPolicy ?? this.#pod.spec.restartPolicy ?? 'Always'
    return (code) => policy === 'Always' || (policy === 'OnFailure' && code !== 0)
  }

  /** An init container that succeeded is not restarted, even with `Always`. */
  #againInit({ restartPolicy }: Container): (exitCode: number) => boolean {
    const policy = restartPolicy ?? this.#pod.spec.restartPolicy ?? 'Always'
    return (code) => code !== 0 && policy !== 'Never'
  }

  /** Starts nothing more; resolves when the containers that are starting have started or failed. */
  async #endSyncs(): Promise<void> {
    this.#stop.abort()
    for (const runner of this.runners) runner.abandon()
    await this.#sync.idle()
  }

  async #stopContainers(graceMs: number, leastMs = LEAST_GRACE_MS): Promise<void> {
    const deadline = Date.now() + graceMs
    const first = this.runners.filter(({ kind }) => kind !== 'sidecar')
    await Promise.all(first.map((runner) => runner.stop(graceMs)))
    await this.#stopSidecars(deadline, leastMs)
  }

  async #stopSidecars(deadline: number, leastMs = LEAST_GRACE_MS): Promise<void> {
    const sidecars = this.#inits.filter(({ kind }) => kind === 'sidecar').reverse()
    for (const sidecar of sidecars) await sidecar.stop(Math.max(deadline - Date.now(), leastMs))
  }

  async #teardown(): Promise<void> {
    this.#volumes?.close()
    if (this.#hasShm) await unmountShm(this.#node.machine, this.#directory)
    this.#hasShm = false
    const network = this.#network
    if (network === undefined) return
    this.#network = undefined
    await this.#node.network.removePod(network)
    this.timeline.add('sandbox-removed')
  }

  #graceMs(): number {
    return (this.#pod.spec.terminationGracePeriodSeconds ?? 30) * 1000
  }

  #podIPs(): readonly string[] {
    if (this.#pod.spec.hostNetwork === true) return this.#node.addresses
    return this.#addresses
  }

  #sources(): ProjectionSources {
    return {
      read: readData(this.#node.kube, this.#pod),
      token: requestToken(this.#node.kube, this.#pod),
      addressing: { podIPs: this.#podIPs(), hostIPs: this.#node.addresses },
    }
  }

  #side(): PodSide {
    return {
      start: (container, log) =>
        startInPod(
          this.#node,
          {
            pod: this.#pod,
            directory: this.#directory,
            network: this.network ?? NODE_NETWORK,
            volumes: this.#volumes?.paths ?? new Map(),
            ...this.#sources(),
          },
          container,
          log,
        ),
      inSync: (step) => this.#sync.run(step),
      warn: (container, reason, message) => recordWarning(this.#node, this.#pod, container, reason, message),
      terminationMessage: (container) =>
        readTerminationMessage(this.#node, { directory: this.#directory }, container),
      host: () => this.#podIPs()[0] ?? '127.0.0.1',
      dial: this.#node.dial,
      backOff: this.#node.backOff,
      graceSeconds: this.#pod.spec.terminationGracePeriodSeconds ?? 30,
      timeline: this.timeline,
      changed: this.#changed,
    }
  }

  async #pause(ms: number): Promise<void> {
    await wait(ms, undefined, { signal: this.#stop.signal, ref: false }).catch(() => {})
  }
}
