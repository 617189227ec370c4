/**
 * Writes log lines to standard output without ever waiting for the reader. When the pipe is not read, a
 * plain write would block the only thread, and with it the application's requests (sidecar), the repair of the
 * block (firewall), everybody's credentials (broker) or the admission of pods (injector).
 *
 * Standard error does not need this: Node makes a pipe or socket there non-blocking as soon as it is used, and a process
 * writes only a few sentences to it.
 */
import { constants, fstatSync, openSync, writeSync } from 'node:fs'
import { backoff } from './backoff.ts'
import { type LineWriter, type Loss, lineWriter } from './line-writer.ts'
import { LINE_KINDS, type LineKind, type Logger, type LogLevel, lineLogger } from './log.ts'

const STDOUT = 1
/** Enough for a burst; in every pod. */
const MAX_WAITING = 16 * 1024
/** An output that stays full, as under a container runtime that hangs, is tried less and less often. */
const RETRY = { base: 50, cap: 1000 }
/** How long a process that ends waits for a slow reader. It has a second to end. */
const END = { step: 5, tries: 12 }

const lost = Object.fromEntries(LINE_KINDS.map((kind) => [kind, 0])) as Record<LineKind, number>

/** Help text of the metrics `…_log_lines_lost_total`. */
export const LINES_LOST_HELP =
  'Log lines lost since the start because the output was not read, by kind: their level, or audit.'

/** How many lines of this process's log were lost since its start, by kind. */
export const linesLost = (): Readonly<Record<LineKind, number>> => lost

/** A logger on standard output; its lines are lost as {@link stdoutLines} says. */
export function stdoutLogger(component: string, level: LogLevel): Logger {
  return lineLogger(component, level, stdoutLines(component, MAX_WAITING).write)
}

/**
 * Standard output as lines. Lines that do not fit wait, at most `capacity` characters of them; beyond that the least
 * important are dropped, and as soon as there is space again, a line in their place says how many were.
 */
export function stdoutLines(component: string, capacity: number): LineWriter {
  const fd = nonBlockingStdout()
  let failures = 1
  let timer: NodeJS.Timeout | undefined
  const lines = lineWriter({
    writeSome: (bytes) => writeSync(fd, bytes),
    lossLine: (loss) => lossLine(component, loss),
    capacity,
    onLost: (kind) => {
      lost[kind]++
    },
    tryLater,
  })
  function tryLater() {
    if (timer !== undefined) return
    timer = setTimeout(
      () => {
        timer = undefined
        failures = lines.drain() ? 1 : failures + 1
        if (failures > 1) tryLater()
      },
      backoff(failures, RETRY, () => 1),
    ).unref()
  }
  process.on('exit', () => {
    for (let tries = 0; !lines.drain() && tries < END.tries; tries++) block(END.step)
  })
  return lines
}

/** The line in the log where lines are missing. */
function lossLine(component: string, { lines, audit }: Loss): string {
  let line = ''
  lineLogger(component, 'warn', (text) => {
    line = text
  }).warn('log lines were lost because the output of this container was not read', {
    lost: lines,
    ...(audit > 0 ? { lostAudit: audit } : {}),
  })
  return line
}

/** Blocks this thread, which has nothing else left to do. */
function block(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}

/**
 * A descriptor of standard output on which writes never block. A pipe or a terminal is opened once more, because O_NONBLOCK belongs to the
 * open file, which other processes of the container share. A socket cannot be opened, nor can what belongs to another user:
 * there Node sets the flag when `process.stdout` is first used. A file never has a writer wait for a reader.
 */
function nonBlockingStdout(): number {
  try {
    const kind = fstatSync(STDOUT)
    if (kind.isFile()) return STDOUT
    if (!kind.isSocket())
      return openSync(
        `/proc/self/fd/${STDOUT}`,
        constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY,
      )
  } catch {
    // Handled like a socket.
  }
  // `process` keeps the stream from being garbage-collected, which would close the descriptor.
  void process.stdout
  return STDOUT
}
