/** The start of a pod, from the node's events and the logs of the gate and the sidecar. */
import type { Pods } from '../sandbox/node/pods.ts'

export type Moment = { readonly at: number; readonly what: string }

const EVENTS: Readonly<Record<string, string>> = {
  seen: 'pod seen by the node',
  scheduled: 'pod bound to the node',
  'sandbox-ready': 'network namespace ready',
}

/** The moments in order, in milliseconds since the first one. */
export function startOf(pods: Pods, pod: string): Moment[] {
  const events = pods.timeline(pod).flatMap(({ at, event, container }) => {
    const what =
      container === undefined
        ? EVENTS[event]
        : event === 'container-started'
          ? `${container} started`
          : undefined
    return what === undefined ? [] : [{ at, what }]
  })
  const said = ['pod2iam-gate', 'pod2iam-sidecar'].flatMap((name) => spoken(pods.logs(pod, name), name))
  const moments = [...events, ...said].sort((a, b) => a.at - b.at)
  const first = moments[0]?.at ?? 0
  return moments.map(({ at, what }) => ({ at: Math.round(at - first), what }))
}

/** When something happened in a start, or undefined. */
export function momentOf(moments: readonly Moment[], what: string): number | undefined {
  return moments.find((moment) => moment.what.includes(what))?.at
}

function spoken(log: string, name: string): Moment[] {
  return log
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line): { time: string; msg: string; refused?: string[] } => JSON.parse(line))
    .filter(({ msg }) => msg !== 'request')
    .map(({ time, msg, refused }) => ({
      at: Date.parse(time),
      what: `  ${name.replace('pod2iam-', '')}: ${msg}${refused ? ` (refused: ${refused.join(', ')})` : ''}`,
    }))
}
