/** What the metrics `…_log_lines_lost_total` say; the count is `linesLost` of log-output.ts. */
export const LINES_LOST_HELP =
  'Log lines lost since the start because nobody read the output, by kind: their level, or audit.'
