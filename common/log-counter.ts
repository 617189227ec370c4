import { Counter, type Registry } from 'prom-client'
import { LINES_LOST_HELP, linesLost } from './log-output.ts'

/** Shows in `registry` how many log lines were lost; for the processes that have prom-client. Its label: `kind`. */
export function registerLostLines(registry: Registry, name: string): void {
  new Counter({
    name,
    help: LINES_LOST_HELP,
    labelNames: ['kind'],
    registers: [registry],
    collect() {
      this.reset()
      for (const [kind, count] of Object.entries(linesLost())) this.inc({ kind }, count)
    },
  })
}
