/** The log of a container over all its runs. */

export type LogLine = {
  readonly at: Date
  readonly stream: 'stdout' | 'stderr'
  readonly text: string
  /** 0 for the first run, then the restart count. */
  readonly run: number
}

/** The number of lines that are kept; the oldest are dropped first. */
const LINES = 50_000
/** The maximum length of a line; the rest becomes the next line. */
const LINE_LENGTH = 16 * 1024

/** The end of the log that `FallbackToLogsOnError` uses. */
const TAIL_LINES = 80
const TAIL_BYTES = 2048

export class ContainerLog {
  readonly #lines: LogLine[] = []
  readonly #partial = { stdout: '', stderr: '' }
  readonly #listeners = new Set<(line: LogLine) => void>()
  #run = 0

  /** Everything appended from now on belongs to the next run. */
  beginRun(run: number): void {
    this.#run = run
  }

  append(stream: 'stdout' | 'stderr', chunk: Buffer): void {
    const pieces = (this.#partial[stream] + chunk.toString()).split('\n')
    this.#partial[stream] = pieces.pop() ?? ''
    for (const text of pieces) this.#push(stream, text)
    if (this.#partial[stream].length > LINE_LENGTH) this.flush()
  }

  /** Ends unfinished lines, because the process is gone. */
  flush(): void {
    for (const stream of ['stdout', 'stderr'] as const) {
      const text = this.#partial[stream]
      this.#partial[stream] = ''
      if (text !== '') this.#push(stream, text)
    }
  }

  /** @param run only this run; default: all of them */
  lines(run?: number): readonly LogLine[] {
    return run === undefined ? this.#lines : this.#lines.filter((line) => line.run === run)
  }

  /** The lines as text; an unfinished line comes last. */
  text(run?: number): string {
    const { stdout, stderr } = this.#partial
    const unfinished = run === undefined || run === this.#run ? stdout + stderr : ''
    return joined(this.lines(run)) + unfinished
  }

  /** The last 80 lines or 2 KiB of the current run, whichever is less. */
  tail(): string {
    const text = joined(this.lines(this.#run).slice(-TAIL_LINES))
    return Buffer.from(text).subarray(-TAIL_BYTES).toString()
  }

  /** Calls `listener` with every new line until the returned function is called. */
  follow(listener: (line: LogLine) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  #push(stream: 'stdout' | 'stderr', text: string): void {
    const line = { at: new Date(), stream, text, run: this.#run }
    this.#lines.push(line)
    if (this.#lines.length > LINES) this.#lines.splice(0, LINES / 10)
    for (const listener of this.#listeners) listener(line)
  }
}

function joined(lines: readonly LogLine[]): string {
  return lines.map((line) => `${line.text}\n`).join('')
}
