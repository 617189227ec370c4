import { Counter, type Registry } from 'prom-client'
import { LINES_LOST } from './log-metric.ts'
import { linesLost } from './log-output.ts'

/** Shows in `registry` how many log lines were lost; for the processes that have prom-client. */
export function countLostLines(registry: Registry): void {
  new Counter({
    ...LINES_LOST,
    labelNames: ['kind'],
    registers: [registry],
    collect() {
      this.reset()
      for (const [kind, count] of Object.entries(linesLost())) this.inc({ kind }, count)
    },
  })
}
