import { Problem } from '../../../common/protocol.ts'

const WITHDRAWN = 'the pod or its permission went away while its credentials were fetched; retry'

/** The problem if the grant became invalid while its session was fetched. */
export const withdrawn = () => new Problem('busy', WITHDRAWN, { retryAfter: 1 })
export const isWithdrawn = (error: unknown) => error instanceof Problem && error.message === WITHDRAWN
