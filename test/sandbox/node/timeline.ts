/** When what happened to a pod: for the demo, and for tests about order. `scheduled` is when the kubelet saw it bound. */

export type TimelineEvent = {
  /** Milliseconds since the epoch, with fractions. */
  readonly at: number
  readonly event:
    | 'scheduled'
    | 'sandbox-ready'
    | 'container-started'
    | 'hook-started'
    | 'hook-finished'
    | 'startup-probe-succeeded'
    | 'container-finished'
    | 'container-ready'
    | 'pod-ready'
    | 'sigterm'
    | 'sigkill'
    | 'deletion-seen'
    | 'sandbox-removed'
  readonly container?: string
  readonly exitCode?: number
}

export class Timeline {
  readonly #events: TimelineEvent[] = []

  add(event: TimelineEvent['event'], details: Omit<TimelineEvent, 'at' | 'event'> = {}): void {
    this.#events.push({ at: performance.timeOrigin + performance.now(), event, ...details })
  }

  get events(): readonly TimelineEvent[] {
    return this.#events
  }
}
