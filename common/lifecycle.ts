/** SIGTERM ends each of our processes within a second with exit code 0, unless it needs longer. */
const GRACE_MS = 900

/**
 * Runs `stop` once on SIGTERM or SIGINT and exits with 0, at the latest after the grace period: what is still open then must not
 * delay the termination of a pod.
 *
 * @param graceMs the grace period, milliseconds; 900 by default
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
