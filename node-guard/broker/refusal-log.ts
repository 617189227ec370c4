import type { Logger } from '../../common/log.ts'
import type { Problem } from '../../common/protocol.ts'
import type { Clock } from './clock.ts'
import { type PodRecord, podName } from './cluster/pod.ts'

export type RefusalLog = {
  /** A known pod gets nothing. */
  readonly refused: (pod: Pick<PodRecord, 'uid' | 'namespace' | 'name'>, problem: Problem) => void
  /** A request could not be tied to a pod. */
  readonly rejected: (peer: string | undefined, problem: Problem) => void
}

const REPEAT_MS = 10 * 60_000
const MAX_KNOWN = 1024

/** Logs refusals at warn when they are new, every ten minutes while they last, and at debug between. */
export function refusalLog(log: Logger, clock: Clock): RefusalLog {
  const told = new Map<string, { readonly text: string; readonly at: number }>()
  const tell = (who: string, message: string, fields: object, { code, message: detail }: Problem): void => {
    const last = told.get(who)
    const repeated = last?.text === `${code} ${detail}` && clock.now() - last.at < REPEAT_MS
    if (!repeated) {
      if (told.size >= MAX_KNOWN) told.clear()
      told.set(who, { text: `${code} ${detail}`, at: clock.now() })
    }
    log[repeated ? 'debug' : 'warn'](message, { ...fields, code, detail })
  }
  return {
    refused: (pod, problem) =>
      tell(pod.uid, 'credentials refused', { pod: podName(pod), uid: pod.uid }, problem),
    rejected: (peer, problem) => tell(`peer ${peer}`, 'request rejected', { peer }, problem),
  }
}
