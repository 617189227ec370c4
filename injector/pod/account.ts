/** The pod's service account as it is now, with everything that a decision needs. */
import { ACCOUNT_ROLE_KEY, KEYS, SIDECAR_CONTAINER } from '../../common/keys.ts'
import type { Pod } from './pod.ts'
import { ownContainer } from './reserved.ts'

export type ServiceAccount = {
  readonly namespace: string
  readonly name: string
  readonly annotations: Readonly<Record<string, string>>
}

/**
 * The role that a service account names, if roles may come from service accounts. An empty annotation names none, as for EKS's webhook:
 * charts write one if no role is set.
 */
export function accountRole(
  account: ServiceAccount | undefined,
  key: string | undefined,
): string | undefined {
  return (key !== undefined && account?.annotations[key]) || undefined
}

/** The account's name for messages; empty without an account. */
export const accountName = (account: Omit<ServiceAccount, 'annotations'> | undefined): string =>
  account === undefined ? '' : `service account ${account.namespace}/${account.name}`

/** The account with the list by which it narrows what its namespace allows, as `judgeAccount` takes it. */
export const listOf = ({ namespace, name, annotations }: ServiceAccount) => ({
  namespace,
  name,
  list: annotations[KEYS.allowedRoles],
})

/** What EKS's pod identity webhook adds for IRSA (amazon-eks-pod-identity-webhook, pkg/handler). */
const EKS_VOLUME = 'aws-iam-token'
const EKS_FILE = ['AWS_WEB_IDENTITY_TOKEN_FILE', '/var/run/secrets/eks.amazonaws.com/serviceaccount/token']

/**
 * Whether the EKS pod identity webhook has already given the pod the role of the same annotation, and the pod has no sidecar: a second way
 * to the same role would only cost a sidecar. That webhook adds its volume and variables together.
 *
 * @param key of the annotation with which the service account names the role
 */
export function isServedByEks(pod: Pod, key: string | undefined): boolean {
  const { containers, initContainers, volumes } = pod.spec
  return (
    key === ACCOUNT_ROLE_KEY &&
    ownContainer(pod, SIDECAR_CONTAINER) === undefined &&
    (volumes ?? []).some(({ name }) => name === EKS_VOLUME) &&
    [...containers, ...(initContainers ?? [])].some(({ env }) =>
      (env ?? []).some(({ name, value }) => name === EKS_FILE[0] && value === EKS_FILE[1]),
    )
  )
}
