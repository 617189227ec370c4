/** The pods of the node as a test uses them. Pods are named `namespace/name`, or `name` in namespace default. */

import { until } from '../../support/until.ts'
import type { KubeClient } from '../kube/client/client.ts'
import type { LogLine } from './container-log.ts'
import type { ContainerRunner } from './container-runner.ts'
import type { Kubelet } from './kubelet.ts'
import type { Pod } from './pod.ts'
import { describePod, type PodPredicate } from './pod-predicates.ts'
import type { PodWorker } from './pod-worker.ts'
import type { ExecOptions, ExecResult } from './process.ts'
import type { TimelineEvent } from './timeline.ts'

/** How long to wait: what takes a second alone takes much longer beside other tests. */
const PATIENCE_MS = 180_000

export class Pods {
  readonly #kube: KubeClient
  readonly #kubelet: Kubelet

  constructor(kube: KubeClient, kubelet: Kubelet) {
    this.#kube = kube
    this.#kubelet = kubelet
  }

  /**
   * The output of a container, both streams together.
   *
   * @param container default: the first app container
   * @param options.run only this run (0 is the first); default: all runs, restarts included
   */
  logs(pod: string, container?: string, options: { run?: number } = {}): string {
    return this.#runner(pod, container).log.text(options.run)
  }

  /** Like {@link logs}, line by line with times. */
  logLines(pod: string, container?: string): readonly LogLine[] {
    return this.#runner(pod, container).log.lines()
  }

  /** Runs a command in a container: its namespaces, uid, capabilities and environment. */
  exec(
    pod: string,
    argv: readonly string[],
    options: Pick<ExecOptions, 'timeout' | 'input'> & { container?: string } = {},
  ): Promise<ExecResult> {
    return this.#process(pod, options.container).exec(argv, options)
  }

  /** The command line (for a root shell of this machine) that runs argv in a container. */
  execArgv(pod: string, argv: readonly string[], container?: string): string[] {
    return this.#process(pod, container).enter(argv)
  }

  /** Signals a container's PID 1; false when it is gone. */
  kill(pod: string, container: string, signal: NodeJS.Signals = 'SIGKILL'): boolean {
    return this.#runner(pod, container).process?.signal(signal) ?? false
  }

  /** The pid, on this machine, of a container's PID 1; undefined when it does not run. */
  pid(pod: string, container?: string): number | undefined {
    return this.#runner(pod, container).process?.pid
  }

  /** The name of the pod's network namespace, for `sandbox.exec`. */
  network(pod: string): string {
    const { network } = this.#worker(pod)
    if (network === undefined) throw new Error(`pod ${pod} has no network namespace`)
    return network
  }

  timeline(pod: string): readonly TimelineEvent[] {
    return this.#worker(pod).timeline.events
  }

  /** Publishes new tokens and the current ConfigMaps, Secrets and pod fields. */
  refreshVolumes(pod: string): Promise<void> {
    return this.#worker(pod).refreshVolumes()
  }

  /** Like the end of the pause process: new network namespace and address, and all containers start again. */
  restartSandbox(pod: string): Promise<void> {
    return this.#worker(pod).restartSandbox()
  }

  /** The object as the API server has it. */
  get(pod: string): Promise<Pod | undefined> {
    const [namespace, name] = split(pod)
    return this.#kube.find<Pod>('pods', name, namespace)
  }

  /**
   * Waits until the pod, as the API server has it, satisfies the predicate.
   *
   * @param timeout milliseconds, default a minute
   * @returns that pod; undefined if the predicate accepts its absence
   * @throws with the pod's state and the ends of its logs when the time is up
   */
  async waitFor(pod: string, predicate: PodPredicate, timeout = PATIENCE_MS): Promise<Pod | undefined> {
    let found: Pod | undefined
    const isMet = async () => {
      found = await this.get(pod)
      return predicate(found)
    }
    const patience = { deadlineMs: timeout, detail: () => this.#state(pod, found) }
    await until(`pod ${pod}, "${predicate.name}"`, isMet, patience)
    return found
  }

  /** Waits for a line of a container's log, past or future; returns the match. */
  async waitForLog(
    pod: string,
    container: string,
    pattern: RegExp,
    timeout = PATIENCE_MS,
  ): Promise<RegExpMatchArray> {
    const worker = () => this.#kubelet.worker(split(pod).join('/'))
    const match = () =>
      worker()
        ?.runners.find((runner) => runner.container.name === container)
        ?.log.text()
        .match(pattern)
    const patience = { deadlineMs: timeout, detail: () => this.#state(pod, worker()?.pod) }
    return until(`pod ${pod}, ${pattern} in the log of ${container}`, match, patience)
  }

  #state(pod: string, found: Pod | undefined): string {
    const runners = this.#kubelet.worker(split(pod).join('/'))?.runners ?? []
    const logs = runners.map(({ container, log }) => `--- log of ${container.name}\n${log.tail()}`)
    return [describePod(found), ...logs].join('\n')
  }

  #worker(pod: string): PodWorker {
    const worker = this.#kubelet.worker(split(pod).join('/'))
    if (worker === undefined) throw new Error(`pod ${pod} is not on the node`)
    return worker
  }

  #runner(pod: string, container?: string): ContainerRunner {
    const { runners } = this.#worker(pod)
    const found = runners.find((runner) =>
      container === undefined ? runner.kind === 'app' : runner.container.name === container,
    )
    if (found === undefined) throw new Error(`pod ${pod} has no container ${container}`)
    return found
  }

  #process(pod: string, container?: string) {
    const runner = this.#runner(pod, container)
    if (runner.process === undefined)
      throw new Error(`container ${runner.container.name} of pod ${pod} does not run`)
    return runner.process
  }
}

function split(pod: string): [namespace: string, name: string] {
  const [first = '', second] = pod.split('/')
  return second === undefined ? ['default', first] : [first, second]
}
