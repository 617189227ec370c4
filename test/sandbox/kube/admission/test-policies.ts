/** Waits until admission policies are in force. */

import { eventually } from '../../../support/until.ts'
import { type ApiServer, isStandIn, type KubeObject } from '../client/client.ts'
import { isApiError } from '../objects/status.ts'

const GROUP = 'admissionregistration.k8s.io/v1'
let count = 0

/**
 * Waits until the created policies and bindings are in force and the deleted ones are not: a real API server
 * receives them through watches, in order, so a policy that is created now is in force after all others.
 */
export async function policiesInForce({ admin }: ApiServer): Promise<void> {
  if (isStandIn()) return
  const name = `mark-${process.pid}-${++count}`
  const mark: KubeObject = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'default' } }
  const refused = () =>
    admin.create(mark, { dryRun: true }).then(
      () => false,
      (error: unknown) => isApiError(error, 422),
    )
  for (const object of objects(name)) await admin.create(object)
  await eventually('the policies', refused)
  await admin.delete('validatingadmissionpolicybindings', name)
  await admin.delete('validatingadmissionpolicies', name)
}

/** A policy that refuses one ConfigMap. */
function objects(name: string): KubeObject[] {
  const rule = { apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }
  const validations = [{ expression: `object.metadata.name != '${name}'` }]
  return [
    {
      apiVersion: GROUP,
      kind: 'ValidatingAdmissionPolicy',
      metadata: { name },
      spec: { matchConstraints: { resourceRules: [rule] }, validations },
    },
    {
      apiVersion: GROUP,
      kind: 'ValidatingAdmissionPolicyBinding',
      metadata: { name },
      spec: { policyName: name, validationActions: ['Deny'] },
    },
  ]
}
