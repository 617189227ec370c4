/** Access to the API server. */
import { existsSync } from 'node:fs'
import { systemClock } from '../../common/clock.ts'
import { messageOf } from '../../common/errors.ts'
import { type KubeAccess, KubeAccessError } from '../../common/kube/access.ts'
import { KubeError, kubeClient } from '../../common/kube/client.ts'
import { kubeconfigAccess, podAccess } from '../../common/kube/kubeconfig.ts'
import type { Logger } from '../../common/log.ts'

/** Leaves time for an answer within the five seconds that the API server gives a webhook. */
const REVIEW_TIMEOUT_MS = 2000
/** The webhook that warns has two seconds in all, and reads the namespace first. */
const WARNING_TIMEOUT_MS = 1000
/** The same problem with credentials is logged this often at most. */
const LOG_AGAIN_MS = 60_000

/**
 * @param file kubeconfig; undefined: the pod's service account
 * @param log for later problems with the credentials, which the sender of a review does not see
 * @throws Error with a sentence if there is no access
 */
export async function apiServer(file: string | undefined, log?: Pick<Logger, 'warn'>) {
  if (file !== undefined && !existsSync(file)) throw new Error(`--kubeconfig: there is no file ${file}`)
  const found = file === undefined ? await podAccess() : await kubeconfigAccess(file)
  const access = log === undefined ? found : reported(found, log)
  const userAgent = 'pod2iam-injector'
  return {
    /** For requests that a review waits for, and for certificates: with a timeout of two seconds. */
    forReviews: kubeClient(access, systemClock, { userAgent, timeoutMs: REVIEW_TIMEOUT_MS }),
    /** For requests on which only a warning depends: with a timeout of one second, on connections of its own. */
    forWarnings: kubeClient(access, systemClock, { userAgent, timeoutMs: WARNING_TIMEOUT_MS }),
    /** For lists and watches, on connections of their own: they must not keep a review waiting. */
    background: kubeClient(access, systemClock, { userAgent, piecemeal: true }),
  }
}

function reported(access: KubeAccess, log: Pick<Logger, 'warn'>): KubeAccess {
  let last = { message: '', at: 0 }
  const report = (message: string) => {
    const isNew = message !== last.message || systemClock.monotonic() - last.at >= LOG_AGAIN_MS
    if (!isNew) return
    last = { message, at: systemClock.monotonic() }
    log.warn('no credentials for the API server', { error: message })
  }
  return {
    ...access,
    read: (isRefused) =>
      access.read(isRefused).catch((error) => {
        report(messageOf(error))
        throw error
      }),
  }
}

/**
 * Why a call to the API server failed, in a clause: its whole answer may say more than whoever sent the review
 * should read.
 */
export function kubeProblem(error: unknown): string {
  if (error instanceof KubeError) return `the API server answers ${error.status}`
  if (error instanceof KubeAccessError) return 'there are no credentials for the API server'
  return error instanceof Error ? error.message : String(error)
}

/** What `read` resolves with, or undefined if the API server has no such object. */
export async function orAbsent<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read
  } catch (error) {
    if (error instanceof KubeError && error.status === 404) return undefined
    throw error
  }
}
