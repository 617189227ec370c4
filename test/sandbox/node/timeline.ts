/** What happened to a pod and when: for the demo, and for tests of the order. `scheduled` is when the kubelet saw that it was bound. */

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
