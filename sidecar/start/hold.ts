/**
 * Holds the start of a pod of one stage: the container's postStart hook waits for a file (`wait-started`), which this process
 * creates once it is ready. The kubelet runs the hook within the start of the container, so that nothing of the pod starts before,
 * and nothing of it can be deleted either: a hold is bounded, and ends with the process, whose end fails the hook.
 *
 * The kubelet then starts the container again, after 10, 20, 40 s and up to five minutes, beginning again once it has run for ten minutes. So a
 * hold lasts as long as the gate's proof does, unless the broker says that the pod is to stay: then it outlasts the back-off, and
 * ends at once when the pod is deleted (docs/decisions/0115).
 */
import { closeSync, openSync } from 'node:fs'
import type { SteadyClock } from '../../common/clock.ts'
import { messageOf } from '../../common/errors.ts'
import type { Readiness } from '../../common/health.ts'
import type { Logger } from '../../common/log.ts'
import type { PodState } from '../broker/outcome.ts'
import { type Loop, repeat } from '../repeat.ts'

/** As the gate's `--proof-timeout`. */
export const SHORT_HOLD_MS = 60_000
/** Longer than the ten minutes after which the kubelet's back-off begins again. */
export const LONG_HOLD_MS = 630_000
/** How long the broker's answer counts, and how often it is asked. */
const STATE_LASTS_MS = 15_000
const ASK_EVERY_MS = 5000
const LOG_EVERY_MS = 10_000

type HoldDeps = {
  /** The file that the hook waits for. */
  readonly file: string
  readonly readiness: () => Readiness
  /** Why the block is not proven, a sentence. */
  readonly blockReason: () => string | undefined
  /** Asks the broker whether the pod stays; never rejects. */
  readonly askPod: () => Promise<PodState>
  readonly clock: SteadyClock
  readonly log: Logger
  /** Called once with the reason why the pod cannot start; the process has to end then. */
  readonly giveUp: (sentence: string) => void
}

/** Starts to hold; what it returns has to be stopped with the process. */
export function holdStart({ file, readiness, blockReason, askPod, clock, log, giveUp }: HoldDeps): Loop {
  const began = clock.monotonic()
  const waited = () => clock.monotonic() - began
  let stayedAt = Number.NEGATIVE_INFINITY
  let logAt = LOG_EVERY_MS
  const loops: Loop[] = []
  const stop = () => {
    for (const loop of loops) loop.stop()
  }
  /** What a loop that ends both returns. */
  const end = (sentence: string | undefined): undefined => {
    stop()
    if (sentence !== undefined) giveUp(sentence)
  }
  const limit = () => (clock.monotonic() - stayedAt <= STATE_LASTS_MS ? LONG_HOLD_MS : SHORT_HOLD_MS)

  const ask = async () => {
    // Most pods have started by then.
    if (waited() < ASK_EVERY_MS) return ASK_EVERY_MS
    const state = await askPod()
    if (state === 'leaves') return end('the pod is being deleted, so it is not started any more')
    if (state === 'stays') stayedAt = clock.monotonic()
    return ASK_EVERY_MS
  }
  const look = async () => {
    const now = readiness()
    if (now.ready) {
      const failed = makeFile(file)
      if (failed === undefined) log.info('the pod may start', { waitedMs: Math.round(waited()) })
      return end(failed)
    }
    if (waited() >= limit()) return end(sentenceOf(blockReason(), now, waited()))
    if (waited() >= logAt) {
      log.warn('the pod waits for its start', {
        code: now.code,
        detail: now.detail,
        waited: seconds(waited()),
      })
      logAt += LOG_EVERY_MS
    }
    return waited() < 5000 ? 10 : 100
  }
  loops.push(repeat(clock, ask))
  loops.push(repeat(clock, look))
  return { stop }
}

function sentenceOf(blockReason: string | undefined, { code, detail }: Readiness, waited: number): string {
  if (blockReason !== undefined) return `${blockReason} (tried for ${seconds(waited)})`
  const reason = detail === undefined ? code : `${code}: ${detail}`
  return `the sidecar was not ready after ${seconds(waited)} (${reason})`
}

/** Creates the file, unless it exists. Returns a sentence if that fails. */
function makeFile(path: string): string | undefined {
  try {
    closeSync(openSync(path, 'a', 0o444))
    return undefined
  } catch (error) {
    return `${path}, which lets the pod's start continue, cannot be created (${messageOf(error)}): has the pod used up its /dev/shm?`
  }
}

const seconds = (milliseconds: number) => `${Math.round(milliseconds / 1000)}s`
