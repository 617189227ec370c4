import { type Decision, decideWhole } from './decide.ts'
import { allow, refuse } from './review.ts'
import { type Told, type Webhook, type WebhookDependencies, webhook } from './webhook.ts'

/** The mutating webhook: adds the sidecar at the creation of a pod, see {@link decide}. */
export function mutator(dependencies: WebhookDependencies): Webhook {
  return webhook(
    'mutate',
    async function mutate(request, { namespace, inTurn }, settings) {
      const { uid, operation, resource, subResource, object, whole } = request
      if (operation !== 'CREATE' || resource !== 'pods' || subResource !== '') {
        const reason = 'not-a-pod-creation'
        return { outcome: 'skip', reason, response: allow(uid, { audit: { decision: 'skip', reason } }) }
      }
      const where = await namespace()
      return inTurn(() => told(uid, decideWhole(object, whole(), where, settings)))
    },
    dependencies,
  )
}

function told(uid: string, decision: Decision): Told {
  const { kind, reason } = decision
  const audit = { decision: kind, reason }
  switch (decision.kind) {
    case 'deny': {
      const status = { code: 403, reason: 'Forbidden', message: decision.sentence }
      return { outcome: kind, reason, response: refuse(uid, status, audit) }
    }
    case 'skip':
      return { outcome: kind, reason, response: allow(uid, { warnings: decision.warnings, audit }) }
    case 'patch': {
      const { ops, warnings, role, redirect } = decision
      const response = allow(uid, { ops, warnings, audit: { ...audit, role, redirect } })
      return { outcome: kind, reason, response }
    }
  }
}
