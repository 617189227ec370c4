/** Pods of the injector's replicas, as this chart and the chart of release 0.1.0 create them. */
import { ADMISSION_FORMAT } from '../../common/keys.ts'
import { type Dict, IMAGES } from './fixtures.ts'

export const PLACE = 'pod2iam-system'
const LABELS = { 'app.kubernetes.io/name': 'pod2iam', 'app.kubernetes.io/component': 'injector' }
export const SELECTOR = 'app.kubernetes.io/name=pod2iam,app.kubernetes.io/component=injector'
export const OTHER_IMAGES = ['--sidecar-image=mirror/sidecar:2', '--node-guard-image=mirror/node-guard:2']

export function replicaPod(name: string, args: readonly string[] = IMAGES): Dict {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: PLACE,
      labels: LABELS,
      annotations: { [ADMISSION_FORMAT]: '1' },
    },
    spec: { nodeName: 'node-1', containers: [{ name: 'injector', image: 'pod2iam/injector:1', args }] },
  }
}
/** The pod of a replica of release 0.1.0. */
export const strictPod = (name: string, args?: readonly string[]): Dict => {
  const pod = replicaPod(name, args) as { metadata: Dict }
  return { ...pod, metadata: { ...pod.metadata, annotations: {} } }
}
