/** Keeps the `caBundle` of every entry of both webhook configurations correct, even if it is overwritten. */
import type { Kube } from '../../common/kube/client.ts'
import { type Json, objectOf, objectsOf } from '../json.ts'
import { pointer } from '../json-patch.ts'
import { orAbsent } from '../kubernetes/access.ts'

export type BundlePublisher = ReturnType<typeof bundlePublisher>

type Entry = { readonly name: Json | undefined; readonly caBundle: Json | undefined }

const GROUP = '/apis/admissionregistration.k8s.io/v1'

/** @param name of the MutatingWebhookConfiguration and, where there is one, the ValidatingWebhookConfiguration */
export function bundlePublisher(kube: Kube, name: string) {
  const mutating = `${GROUP}/mutatingwebhookconfigurations/${name}`
  const validating = `${GROUP}/validatingwebhookconfigurations/${name}`
  return {
    /**
     * Compares all entries and corrects those that differ.
     *
     * @param bundle PEM
     * @returns whether every entry was already correct
     */
    async publish(bundle: string) {
      const wanted = Buffer.from(bundle).toString('base64')
      const found: [string, unknown][] = [
        [mutating, await kube.get(mutating)],
        [validating, await orAbsent(kube.get(validating))],
      ]
      let inSync = true
      for (const [path, configuration] of found) {
        const ops = corrections(entriesOf(configuration), wanted)
        if (ops.length === 0) continue
        inSync = false
        await kube.send('PATCH', path, ops)
      }
      return inSync
    },
  }
}

function entriesOf(configuration: unknown): readonly Entry[] {
  const { webhooks } = objectOf(configuration)
  return objectsOf(webhooks).map(({ name, clientConfig }) => ({
    name,
    caBundle: objectOf(clientConfig).caBundle,
  }))
}

/** Each correction follows a `test` of the entry's name, since entries may have moved since they were read. */
function corrections(webhooks: readonly Entry[], wanted: string) {
  return webhooks.flatMap(({ name, caBundle }, index) =>
    caBundle === wanted
      ? []
      : [
          { op: 'test', path: pointer('webhooks', index, 'name'), value: name },
          { op: 'add', path: pointer('webhooks', index, 'clientConfig', 'caBundle'), value: wanted },
        ],
  )
}
