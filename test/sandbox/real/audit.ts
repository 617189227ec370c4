/** The audit log of a real API server, as the calls that the stand-in records. */

import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { until } from '../../support/until.ts'
import type { KubeClient } from '../kube/client/kube-client.ts'
import type { Call } from '../kube/server/routes.ts'

type AuditEvent = {
  readonly auditID: string
  readonly stage: string
  readonly verb: string
  readonly requestURI: string
  readonly user: { readonly username: string }
  readonly objectRef?: Readonly<
    Partial<Record<'apiGroup' | 'resource' | 'subresource' | 'namespace' | 'name', string>>
  >
  readonly responseStatus?: { readonly code?: number }
  readonly annotations?: Readonly<Record<string, string>>
}

const DECISION = 'authorization.k8s.io/decision'

export class AuditLog {
  readonly #path: string
  readonly #admin: KubeClient
  /** The position in the log from which calls are returned. */
  #from = 0

  constructor(path: string, admin: KubeClient) {
    this.#path = path
    this.#admin = admin
  }

  /** Every call so far, oldest first, without the control plane's own. */
  async calls(clear: boolean): Promise<Call[]> {
    const text = await this.#upToNow()
    const events = new Map<string, AuditEvent>()
    for (const line of text.slice(this.#from).split('\n')) {
      if (line === '') continue
      const event = JSON.parse(line) as AuditEvent
      events.set(event.auditID, event)
    }
    if (clear) this.#from = text.length
    return [...events.values()].filter(isOfClients).map(callOf)
  }

  /** The log with all requests from before now: it is read until it contains a request that is made now. */
  async #upToNow(): Promise<string> {
    const mark = `/version?mark=${randomUUID()}`
    await this.#admin.request('GET', mark)
    return until(`${mark} in the audit log`, async () => {
      const text = await readFile(this.#path, 'utf8')
      const whole = text.slice(0, text.lastIndexOf('\n') + 1)
      return whole.includes(mark) && whole
    })
  }
}

const isOfClients = ({ user, requestURI }: AuditEvent) =>
  !/^system:(apiserver|kube-controller-manager|serviceaccount:kube-system:)/.test(user.username) &&
  !requestURI.startsWith('/version?mark=') &&
  !requestURI.startsWith('/readyz')

function callOf(event: AuditEvent): Call {
  const { verb, requestURI, user, objectRef, responseStatus, annotations = {} } = event
  return {
    user: user.username,
    verb,
    group: objectRef?.apiGroup ?? '',
    resource: objectRef?.resource ?? '',
    subresource: objectRef?.subresource ?? '',
    namespace: objectRef?.namespace ?? '',
    // As in the URL, in which a new object has no name.
    name: verb === 'create' && objectRef?.subresource === undefined ? '' : (objectRef?.name ?? ''),
    path: objectRef === undefined ? requestURI.replace(/\?.*/s, '') : '',
    allowed: annotations[DECISION] === 'allow',
    // For an open watch only the start of the response has been logged.
    code: event.stage === 'ResponseStarted' ? 0 : (responseStatus?.code ?? 0),
    audit: Object.fromEntries(
      Object.entries(annotations).filter(([key]) => !key.startsWith('authorization.')),
    ),
  }
}
