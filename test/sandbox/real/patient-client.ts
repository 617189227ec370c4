/** The admin's client of a real cluster, whose controllers need a moment for what the stand-in does at once. */

import { until } from '../../support/until.ts'
import type { WriteOptions } from '../kube/client/client-options.ts'
import { KubeClient } from '../kube/client/kube-client.ts'
import type { KubeObject } from '../kube/objects/objects.ts'
import { isApiError } from '../kube/objects/status.ts'

const PROBE = 'webhook-probe'

type Dict = Readonly<Record<string, string>>

export class PatientClient extends KubeClient {
  /** Waits until a new namespace has its service account and the cluster's CA, and first for the end of a former one of that name. */
  override async create<T extends KubeObject = KubeObject>(
    object: KubeObject,
    options: WriteOptions = {},
  ): Promise<T> {
    if (object.kind !== 'Namespace' || options.dryRun) return super.create<T>(object, options)
    const created = await this.#afterItsPredecessor<T>(object, options)
    await this.settled(created.metadata.name ?? '')
    return created
  }

  /** Waits until the controllers have done their work for a new namespace. */
  async settled(namespace: string): Promise<void> {
    await until(`the contents of namespace ${namespace}`, async () => {
      const account = await this.find('serviceaccounts', 'default', namespace)
      return account !== undefined && (await this.find('configmaps', 'kube-root-ca.crt', namespace))
    })
  }

  /**
   * Waits until webhooks for pods are called, whatever they answer.
   *
   * @param labels of a namespace whose pods the webhooks match
   * @param annotations of such a pod
   */
  async reachesWebhooks(labels: Dict, annotations: Dict): Promise<void> {
    if ((await this.find('namespaces', PROBE)) === undefined)
      await this.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: PROBE, labels } })
    const spec = { containers: [{ name: 'app', image: 'app' }] }
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'probe', namespace: PROBE, annotations },
      spec,
    }
    await until('the webhooks for pods', () =>
      super.create(pod as KubeObject, { dryRun: true }).then(
        () => true,
        (error: unknown) => {
          if (!isApiError(error)) throw error
          return !/failed calling webhook .*(?:no endpoints available|not found)/.test(error.message)
        },
      ),
    )
  }

  #afterItsPredecessor<T extends KubeObject>(object: KubeObject, options: WriteOptions): Promise<T> {
    return until(`the end of the former namespace ${object.metadata.name}`, async () => {
      try {
        return await super.create<T>(object, options)
      } catch (error) {
        if (!isApiError(error, 409)) throw error
        // The message says that it is being deleted, except when it goes away before the server looks.
        const former = await this.find('namespaces', object.metadata.name ?? '')
        if (former !== undefined && former.metadata.deletionTimestamp === undefined) throw error
        return undefined
      }
    })
  }
}
