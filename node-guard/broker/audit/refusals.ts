import type { Problem } from '../../../common/protocol.ts'
import type { PodRecord } from '../kubernetes/pod.ts'
import { podEvents } from './events.ts'
import { refusalLog } from './refusal-log.ts'

type Refusals = {
  /** A known pod gets nothing: a line in the log and, where a person has to change something, an Event. */
  readonly onRefused: (pod: Pick<PodRecord, 'uid' | 'namespace' | 'name'>, problem: Problem) => void
  /** A request could not be tied to a pod: a line in the log. */
  readonly onRejected: (peer: string | undefined, problem: Problem) => void
}

/** Where refusals are made known. */
export function refusalReport(
  deps: Parameters<typeof podEvents>[0],
  nodeName: string,
  onEvent: Parameters<typeof podEvents>[2],
): Refusals {
  const events = podEvents(deps, nodeName, onEvent)
  const log = refusalLog(deps.log, deps.clock)
  return {
    onRejected: log.rejected,
    onRefused: (pod, problem) => {
      log.refused(pod, problem)
      events.report(pod, problem)
    },
  }
}
