/** The steps of a pod that a kubelet's pod worker does one at a time: it starts a container and runs its postStart hook. */

export class PodSync {
  readonly #ended: () => void
  #last: Promise<unknown> = Promise.resolve()
  #running = false
  #batches = 0

  /** @param ended called whenever it is no longer busy */
  constructor(ended: () => void) {
    this.#ended = ended
  }

  /** While it is busy, nothing else of the pod starts, and its status is not reported. */
  get busy(): boolean {
    return this.#running || this.#batches > 0
  }

  /** Runs a step after all those that were requested before. */
  run<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#last.then(async () => {
      this.#running = true
      try {
        return await step()
      } finally {
        this.#running = false
        this.#report()
      }
    })
    this.#last = result.catch(() => {})
    return result
  }

  /** All steps that `begin` requests at once belong to one sync: the status is reported after the last of them. */
  together<T>(begin: () => T): T {
    this.#batches++
    const result = begin()
    void this.#last.then(() => {
      this.#batches--
      this.#report()
    })
    return result
  }

  /** Resolves when all steps that were requested so far have ended. */
  async idle(): Promise<void> {
    await this.#last
  }

  #report(): void {
    if (!this.busy) this.#ended()
  }
}
