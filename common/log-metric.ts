/** The metric of `linesLost` (log-output.ts), in broker and injector; the sidecar's has its prefix. Its label: `kind`. */
export const LINES_LOST = {
  name: 'pod2iam_log_lines_lost_total',
  help: 'Log lines lost since the start because nobody read the output, by kind: their level, or audit.',
} as const
