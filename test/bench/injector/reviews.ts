/** What an API server sends to the injector: admission reviews of a given size, and pods to watch. */
import { pod, reviewOf } from '../../injector/fixtures.ts'

/** A POST to /mutate whose body has `size` bytes; it is filled up with env, as real large pods are. */
export function reviewBytes(size: number): string {
  const body = (filler: readonly object[]) =>
    JSON.stringify(reviewOf(pod({ containers: [{ name: 'app', image: 'orders', env: filler }] })))
  const entry = (index: number) => ({ name: `VARIABLE_${index}`, value: 'x'.repeat(64) })
  const filler: object[] = []
  const step = JSON.stringify(entry(100)).length + 1
  for (let left = size - body([]).length; left > 0; left -= step) filler.push(entry(filler.length))
  const text = body(filler)
  return (
    'POST /mutate?timeout=5s HTTP/1.1\r\nHost: pod2iam-injector.pod2iam-system.svc\r\n' +
    `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
  )
}

/** Running pods with a sidecar, about 4 kB each as the API server sends them. */
export function runningPods(count: number): object[] {
  return Array.from({ length: count }, (_, index) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `orders-${index}`,
      namespace: 'shop',
      uid: `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`,
      labels: { 'pod2iam.dev/injected': 'true' },
      annotations: { 'iam.amazonaws.com/role': 'shop-orders', 'pod2iam.dev/status': '{"version":"0.1.0"}' },
      managedFields: [{ manager: 'kubelet', fieldsV1: { filler: 'x'.repeat(3500) } }],
    },
    spec: {
      initContainers: [{ name: 'pod2iam-sidecar', restartPolicy: 'Always' }],
      containers: [{ name: 'app', image: 'orders' }],
    },
    status: { phase: 'Running', podIP: '10.0.0.1' },
  }))
}
