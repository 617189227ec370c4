/** One container of a pod over all its restarts: start, probes, back-off, stop, and its part of the pod's status. */
import { setTimeout as wait } from 'node:timers/promises'
import { type BackOff, backOffDelay } from './backoff.ts'
import { ContainerLog } from './container-log.ts'
import type { ContainerProcess, Exit } from './container-process.ts'
import type { Dial } from './dialer.ts'
import { StartError } from './errors.ts'
import type { Container, ContainerState, ContainerStatus, TerminatedState } from './pod.ts'
import { runHook } from './post-start.ts'
import { probeUntil } from './probe.ts'
import type { Timeline } from './timeline.ts'

/** What a runner needs of its pod. */
export type PodSide = {
  readonly start: (container: Container, log: ContainerLog) => Promise<ContainerProcess>
  /** Runs a step of the pod's sync, one at a time. */
  readonly inSync: <T>(step: () => Promise<T>) => Promise<T>
  /** Records an Event about a container. */
  readonly warn: (container: Container, reason: string, message: string) => void
  /** What the container wrote to its termination message file. */
  readonly terminationMessage: (container: Container) => string
  /** Address for probes; known once the pod has a network. */
  readonly host: () => string
  readonly dial: Dial
  readonly backOff: BackOff
  readonly graceSeconds: number
  readonly timeline: Timeline
  readonly changed: () => void
}

type Run = { readonly process: ContainerProcess; readonly probes: AbortController }
/** A run that could not be started; without a code it is retried. */
type FailedRun = { readonly code: number | undefined }

/** The exit code of a container whose process could not be started (containerd). */
const START_ERROR_CODE = 128

export class ContainerRunner {
  readonly container: Container
  readonly kind: 'init' | 'sidecar' | 'app'
  readonly log: ContainerLog
  readonly #pod: PodSide
  readonly #stop = new AbortController()
  /** Resolves when the container counts as started for the first time, or never will. */
  readonly started: Promise<void>
  #markStarted: () => void = () => {}
  #process: ContainerProcess | undefined
  #starting: Promise<unknown> = Promise.resolve()
  #state: ContainerState = { waiting: { reason: 'PodInitializing' } }
  #lastState: ContainerStatus['lastState'] = {}
  #restarts = 0
  /** Milliseconds that the last run took. */
  #ranMs = 0
  #isStarted = false
  #isReady = false

  /** @param previous the same container in the pod's former sandbox */
  constructor(
    container: Container,
    kind: 'init' | 'sidecar' | 'app',
    pod: PodSide,
    previous?: ContainerRunner,
  ) {
    this.container = container
    this.kind = kind
    this.log = previous?.log ?? new ContainerLog()
    if (previous !== undefined) {
      const { restartCount, state, lastState } = previous.status
      const ran = 'terminated' in state
      this.#restarts = restartCount + (ran ? 1 : 0)
      this.#lastState = ran ? state : lastState
    }
    this.#pod = pod
    this.started = new Promise((resolve) => {
      this.#markStarted = resolve
    })
  }

  /** The running process, or undefined. */
  get process(): ContainerProcess | undefined {
    return this.#process
  }

  get status(): ContainerStatus {
    const { name, image } = this.container
    const id = this.#process?.pid
    return {
      name,
      image,
      imageID: image,
      ...(id === undefined ? {} : { containerID: `sandbox://${id}` }),
      ready: this.#isReady,
      started: this.#isStarted,
      restartCount: this.#restarts,
      state: this.#state,
      lastState: this.#lastState,
    }
  }

  /** Sets why it does not run yet. */
  waitBecause(reason: string): void {
    this.#state = { waiting: { reason } }
  }

  /**
   * Runs the container until it ends for the last time.
   *
   * @param again whether to restart it after this exit code
   * @returns the last exit code; undefined when `stop()` ended it
   */
  async supervise(again: (exitCode: number) => boolean): Promise<number | undefined> {
    const { signal } = this.#stop
    try {
      for (let failures = 0; !signal.aborted; failures++) {
        this.#ranMs = 0
        const code = await this.#runOnce(failures)
        if (signal.aborted) break
        if (this.#ranMs > this.#pod.backOff.resetAfter) failures = 0
        if (code !== undefined && !again(code)) return code
        await this.#backOff(failures + 1, code !== undefined)
        if (code !== undefined) this.#restarts++
      }
      return undefined
    } catch (error) {
      if (signal.aborted) return undefined
      throw error
    } finally {
      this.#markStarted()
    }
  }

  /** No restart any more, whatever happens to its process, because the machine is about to end. */
  abandon(): void {
    this.#stop.abort()
  }

  /** Sends SIGTERM, and SIGKILL after `graceMs`; no restart. Resolves when the process is gone. */
  async stop(graceMs: number): Promise<void> {
    this.#stop.abort()
    await this.#starting.catch(() => {})
    if (this.#process !== undefined) await this.#terminate(this.#process, graceMs)
    if ('waiting' in this.#state) this.#pod.changed()
  }

  /** One run to its end; undefined when it could not be started and is to be retried. */
  async #runOnce(attempt: number): Promise<number | undefined> {
    const starting = this.#pod.inSync(() => this.#start(attempt))
    this.#starting = starting
    const run = await starting
    if ('code' in run) return run.code
    const exit = await run.process.exit
    run.probes.abort()
    this.#ended(exit, run.process.startedAt)
    return exit.code
  }

  /** The kubelet's startContainer: it ends when the postStart hook has ended, and probes begin after it. */
  async #start(attempt: number): Promise<Run | FailedRun> {
    // One sync starts all apps of a pod, even those whose turn comes while the pod is being deleted.
    if (this.kind !== 'app' || attempt > 0) this.#stop.signal.throwIfAborted()
    this.log.beginRun(this.#restarts)
    let process: ContainerProcess
    try {
      process = await this.#pod.start(this.container, this.log)
    } catch (error) {
      return { code: this.#startFailed(error, attempt) }
    }
    this.#process = process
    this.#remember()
    this.#state = { running: { startedAt: seconds(process.startedAt) } }
    this.#pod.timeline.add('container-started', { container: this.container.name })
    if (!(await this.#postStart(process))) {
      const exit = await process.exit
      this.#ended(exit, process.startedAt)
      return { code: exit.code }
    }
    const probes = new AbortController()
    this.#probe(process, probes.signal)
    return { process, probes }
  }

  /** False when the hook failed: then the container has been stopped, and its exit code decides whether it is restarted. */
  async #postStart(process: ContainerProcess): Promise<boolean> {
    const { name, lifecycle } = this.container
    const hook = lifecycle?.postStart?.exec
    if (hook === undefined) return true
    this.#pod.timeline.add('hook-started', { container: name })
    const exitCode = await runHook(hook.command, process)
    this.#pod.timeline.add('hook-finished', { container: name, exitCode })
    if (exitCode === 0) return true
    this.#pod.warn(this.container, 'FailedPostStartHook', 'PostStartHook failed')
    await this.#terminate(process, this.#pod.graceSeconds * 1000)
    return false
  }

  #ended(exit: Exit, startedAt: Date): void {
    this.log.flush()
    this.#ranMs = exit.at.getTime() - startedAt.getTime()
    this.#process = undefined
    this.#isStarted = false
    // An init container is ready when it has succeeded.
    this.#isReady = this.kind === 'init' && exit.code === 0
    this.#state = { terminated: this.#terminated(exit, startedAt) }
    const { name } = this.container
    this.#pod.timeline.add('container-finished', { container: name, exitCode: exit.code })
    this.#pod.changed()
  }

  /** Configuration and image errors are retried; an error of the runtime counts as a failed run. */
  #startFailed(error: unknown, attempt: number): number | undefined {
    if (!(error instanceof StartError)) throw error
    this.#remember()
    const { reason, message } = error
    if (reason !== 'RunContainerError') {
      const backOff = reason === 'ErrImagePull' && attempt > 0 ? 'ImagePullBackOff' : reason
      this.#state = { waiting: { reason: backOff, message } }
      this.#pod.changed()
      return undefined
    }
    this.#state = { terminated: { exitCode: START_ERROR_CODE, reason: 'StartError', message } }
    this.#pod.changed()
    return START_ERROR_CODE
  }

  /** The status says that the container waits; an image or configuration error keeps its own reason. */
  async #backOff(restart: number, crashed: boolean): Promise<void> {
    const delay = backOffDelay(crashed ? restart : restart + 1, this.#pod.backOff)
    if (delay === 0) return
    if (crashed) {
      this.#remember()
      const message = `back-off ${delay}ms restarting failed container=${this.container.name}`
      this.#state = { waiting: { reason: 'CrashLoopBackOff', message } }
      this.#pod.changed()
    }
    await wait(delay, undefined, { signal: this.#stop.signal, ref: false })
  }

  #remember(): void {
    if ('terminated' in this.#state) this.#lastState = this.#state
  }

  #terminated(exit: Exit, startedAt: Date): TerminatedState {
    const { terminationMessagePolicy } = this.container
    const written = this.#pod.terminationMessage(this.container)
    const useLog = written === '' && exit.code !== 0 && terminationMessagePolicy === 'FallbackToLogsOnError'
    const message = useLog ? this.log.tail() : written
    return {
      exitCode: exit.code,
      reason: exit.code === 0 ? 'Completed' : 'Error',
      ...(message === '' ? {} : { message }),
      startedAt: seconds(startedAt),
      finishedAt: seconds(exit.at),
    }
  }

  #probe(process: ContainerProcess, signal: AbortSignal): void {
    const { startupProbe } = this.container
    const target = { container: this.container, process, host: this.#pod.host(), dial: this.#pod.dial }
    if (startupProbe === undefined) {
      this.#hasStarted(process, signal)
      return
    }
    const own = new AbortController()
    const both = AbortSignal.any([signal, own.signal])
    void probeUntil(startupProbe, target, both, (ok) => {
      own.abort()
      if (!ok) return void this.#terminate(process, this.#pod.graceSeconds * 1000)
      this.#pod.timeline.add('startup-probe-succeeded', { container: this.container.name })
      this.#hasStarted(process, signal)
    })
  }

  #hasStarted(process: ContainerProcess, signal: AbortSignal): void {
    const { name, readinessProbe, livenessProbe } = this.container
    const target = { container: this.container, process, host: this.#pod.host(), dial: this.#pod.dial }
    this.#isStarted = true
    this.#markStarted()
    const setReady = (ready: boolean) => {
      this.#isReady = ready
      if (ready) this.#pod.timeline.add('container-ready', { container: name })
      this.#pod.changed()
    }
    if (this.kind === 'init') return
    if (readinessProbe === undefined) setReady(true)
    else void probeUntil(readinessProbe, target, signal, setReady)
    if (livenessProbe !== undefined)
      void probeUntil(livenessProbe, target, signal, (ok) => {
        if (!ok) void this.#terminate(process, this.#pod.graceSeconds * 1000)
      })
  }

  async #terminate(process: ContainerProcess, graceMs: number): Promise<void> {
    const { name } = this.container
    if (process.signal('SIGTERM')) this.#pod.timeline.add('sigterm', { container: name })
    const inTime = await within(process.exit, graceMs)
    if (inTime) return
    this.#pod.timeline.add('sigkill', { container: name })
    process.signal('SIGKILL')
    await process.exit
  }
}

async function within(done: Promise<unknown>, ms: number): Promise<boolean> {
  const timeout = new AbortController()
  const late = wait(ms, false, { signal: timeout.signal }).catch(() => false)
  return await Promise.race([done.then(() => true), late]).finally(() => timeout.abort())
}

/** As the API server prints a time. */
function seconds(at: Date): string {
  return `${at.toISOString().slice(0, 19)}Z`
}
