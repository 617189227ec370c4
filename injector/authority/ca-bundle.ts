/** Keeps the `caBundle` of every entry of both webhook configurations right, also when somebody overwrites it. */
import {
  AdmissionregistrationV1Api,
  ApiException,
  type KubeConfig,
  PatchStrategy,
  setHeaderOptions,
} from '@kubernetes/client-node'
import { pointer } from '../patch.ts'

export type BundlePublisher = {
  /**
   * Compares and corrects.
   *
   * @param bundle PEM
   * @returns whether every entry had it already
   */
  readonly publish: (bundle: string) => Promise<boolean>
}

type Entry = { readonly name: string; readonly clientConfig: { readonly caBundle?: string } }

/** @param name of the MutatingWebhookConfiguration and, where there is one, the ValidatingWebhookConfiguration */
export function bundlePublisher(kubeConfig: KubeConfig, name: string): BundlePublisher {
  const api = kubeConfig.makeApiClient(AdmissionregistrationV1Api)
  const asJsonPatch = setHeaderOptions('Content-Type', PatchStrategy.JsonPatch)
  return {
    async publish(bundle) {
      const wanted = Buffer.from(bundle).toString('base64')
      const mutating = await api.readMutatingWebhookConfiguration({ name })
      const validating = await api.readValidatingWebhookConfiguration({ name }).catch(undefinedWhenAbsent)
      const mutatingOps = corrections(mutating.webhooks ?? [], wanted)
      const validatingOps = corrections(validating?.webhooks ?? [], wanted)
      if (mutatingOps.length > 0)
        await api.patchMutatingWebhookConfiguration({ name, body: mutatingOps }, asJsonPatch)
      if (validatingOps.length > 0)
        await api.patchValidatingWebhookConfiguration({ name, body: validatingOps }, asJsonPatch)
      return mutatingOps.length + validatingOps.length === 0
    },
  }
}

/** A `test` on the entry's name before each: entries may have moved since they were read. */
function corrections(webhooks: readonly Entry[], wanted: string) {
  return webhooks.flatMap(({ name, clientConfig }, index) =>
    clientConfig.caBundle === wanted
      ? []
      : [
          { op: 'test', path: pointer('webhooks', index, 'name'), value: name },
          { op: 'add', path: pointer('webhooks', index, 'clientConfig', 'caBundle'), value: wanted },
        ],
  )
}

function undefinedWhenAbsent(error: unknown): undefined {
  if (error instanceof ApiException && error.code === 404) return undefined
  throw error
}
