import { BoundedMap } from '../../../common/bounded-map.ts'
import type { Clock } from '../../../common/clock.ts'
import type { LogFields, Logger } from '../../../common/log.ts'
import type { Problem } from '../../../common/protocol.ts'
import { tokenBucket } from '../../../common/token-bucket.ts'
import { type PodRecord, podName } from '../kubernetes/pod.ts'

const REPEAT_MS = 10 * 60_000
const MAX_KNOWN = 1024
/** Total number of lines, for all pods and peers. */
const PER_SECOND = 1
const BURST = 100

/**
 * Logs refusals at warn when they are new for that pod or peer, every ten minutes while they last, and at debug between.
 * Beyond a line per second they are only counted, in `notLogged` of the next. Those of known pods are audit lines.
 */
export function refusalLog(log: Logger, clock: Clock) {
  // By sender and code, since a sender may be able to vary the sentence.
  const logged = new BoundedMap<string, number>(MAX_KNOWN)
  const bucket = tokenBucket(PER_SECOND, BURST, clock)
  let notLogged = 0

  const write = (
    who: string,
    message: string,
    fields: LogFields,
    { code, message: detail }: Problem,
  ): void => {
    const key = `${who} ${code}`
    const line = { ...fields, code, detail }
    const at = logged.get(key)
    // A repetition is not another audit line.
    if (at !== undefined && clock.now() - at < REPEAT_MS) log.debug(message, { ...line, audit: undefined })
    else if (bucket.take()) {
      logged.set(key, clock.now())
      log.warn(message, notLogged > 0 ? { ...line, notLogged } : line)
      notLogged = 0
    } else {
      notLogged++
      log.debug(message, { ...line, audit: undefined })
    }
  }
  return {
    /** A known pod gets nothing. */
    refused: (pod: Pick<PodRecord, 'uid' | 'namespace' | 'name'>, problem: Problem) =>
      write(pod.uid, 'credentials refused', { audit: true, pod: podName(pod), uid: pod.uid }, problem),
    /** A request could not be tied to a pod. No audit line: anybody who reaches the port can cause it, and would push those out. */
    rejected: (peer: string | undefined, problem: Problem) =>
      write(`peer ${peer}`, 'request rejected', { peer }, problem),
  }
}
