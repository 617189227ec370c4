/** SIGTERM ends each of our processes within a second with exit code 0. */
const GRACE_MS = 900

/**
 * Runs `stop` once on SIGTERM or SIGINT and exits 0, at the latest after 900 ms: what is still open then is not
 * worth keeping a pod's termination waiting.
 */
export function onTerminate(stop: () => Promise<void> | void): void {
  let stopping = false
  const handler = async () => {
    if (stopping) return
    stopping = true
    setTimeout(() => process.exit(0), GRACE_MS).unref()
    await stop()
    process.exit(0)
  }
  process.on('SIGTERM', handler)
  process.on('SIGINT', handler)
}
