import { ApiException } from '@kubernetes/client-node'
import { messageOf } from '../common/errors.ts'

/**
 * Why a call to the API server failed, in a clause: client-node's own message holds the whole answer with its
 * headers, and undici's only "fetch failed".
 */
export function kubeProblem(error: unknown): string {
  if (error instanceof ApiException) return `the API server answers ${error.code}`
  if (error instanceof Error && error.name === 'TimeoutError') return 'the API server did not answer in time'
  if (error instanceof TypeError && error.cause !== undefined) return messageOf(error.cause)
  return messageOf(error)
}
