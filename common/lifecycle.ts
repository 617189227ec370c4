/** SIGTERM ends each of our processes within a second with exit code 0, unless it needs longer. */
const GRACE_MS = 900

/**
 * Runs `stop` once on SIGTERM or SIGINT and exits 0, at the latest after the grace: what is still open then is not
 * worth keeping a pod's termination waiting.
 *
 * @param graceMs default 900
 */
export function onTerminate(stop: () => Promise<void> | void, graceMs = GRACE_MS): void {
  let stopping = false
  const handler = async () => {
    if (stopping) return
    stopping = true
    setTimeout(() => process.exit(0), graceMs).unref()
    await stop()
    process.exit(0)
  }
  process.on('SIGTERM', handler)
  process.on('SIGINT', handler)
}
