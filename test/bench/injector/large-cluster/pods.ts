/** Pods of a large cluster as an API server sends them: whole, or only their metadata. */
import {
  applyPatch,
  type Dict,
  decide,
  namespace,
  opsOf,
  pod,
  settings,
  withApiServerDefaults,
} from '../../../injector/fixtures.ts'

/** The stage of a pod's life: just created, bound to a node, with its gate running, started. */
export type Stage = 'made' | 'bound' | 'gate' | 'running' | 'leaving'

export type Place = { readonly name: string; readonly namespace: string; readonly uid: string }

export type PodTexts = {
  readonly whole: (stage: Stage, at: Place, version: number) => string
  readonly metadata: (stage: Stage, at: Place, version: number) => string
}

/** When they were created and started: long enough ago that a gate which still runs counts as waiting. */
const START = `${new Date(Date.now() - 3_600_000).toISOString().slice(0, 19)}Z`
const STAGES: readonly Stage[] = ['made', 'bound', 'gate', 'running', 'leaving']
const TOKENS = /@(NAME|NAMESPACE|UID|VERSION)@/

/** An app with two containers, env, probes and volumes, as a chart creates it; with or without our sidecar. */
function stored(injected: boolean): Dict {
  const env = Array.from({ length: 8 }, (_, index) => ({
    name: `SETTING_${index}`,
    value: `https://service-${index}.internal:8443/`,
  }))
  const probe = {
    httpGet: { path: '/healthz', port: 8080, scheme: 'HTTP' },
    periodSeconds: 10,
    failureThreshold: 3,
  }
  const container = (name: string) => ({
    name,
    image: `registry.internal/shop/${name}:2026.11.28-4f1c2d`,
    env,
    ports: [{ name: 'http', containerPort: 8080, protocol: 'TCP' }],
    resources: { limits: { cpu: '1', memory: '512Mi' }, requests: { cpu: '250m', memory: '512Mi' } },
    livenessProbe: probe,
    readinessProbe: probe,
    volumeMounts: [{ name: 'config', mountPath: '/etc/orders', readOnly: true }],
  })
  const volumes = [{ name: 'config', configMap: { name: 'orders', defaultMode: 420 } }]
  const plain = pod({ containers: [container('app'), container('logs')], volumes }, {}, { app: 'orders' })
  const done = injected ? applyPatch(plain, opsOf(decide(plain, namespace(), settings()))) : plain
  const { kind, apiVersion, metadata, spec } = withApiServerDefaults(done) as Record<string, Dict>
  return { kind, apiVersion, metadata, spec } as Dict
}

/** The `managedFields` of a value: a key for every field, and for every element that has a name. */
function fieldsOf(value: unknown): Dict {
  if (Array.isArray(value)) {
    const named = value.filter((one): one is Dict & { name: string } => typeof one?.name === 'string')
    return Object.fromEntries(named.map((one) => [`k:{"name":"${one.name}"}`, { '.': {}, ...fieldsOf(one) }]))
  }
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [`f:${key}`, fieldsOf(part)]))
}

function statusAt(stage: Stage, spec: Dict): Dict {
  if (stage === 'made') return { phase: 'Pending', qosClass: 'Burstable' }
  const started = stage === 'running' || stage === 'leaving'
  const state = (name: unknown) => {
    if (started)
      return name === 'pod2iam-gate'
        ? { terminated: { exitCode: 0, startedAt: START } }
        : { running: { startedAt: START } }
    return stage === 'gate' && String(name).startsWith('pod2iam-')
      ? { running: { startedAt: START } }
      : { waiting: { reason: 'PodInitializing' } }
  }
  const statuses = (list: unknown) =>
    ((list as Dict[] | undefined) ?? []).map(({ name, image }) => ({
      ...{ name, image, imageID: `registry.internal/shop/app@sha256:${'4f1c'.repeat(16)}` },
      ...{ containerID: `containerd://${'9a7b'.repeat(16)}`, ready: started, started, restartCount: 0 },
      ...{ state: state(name), lastState: {} },
    }))
  return {
    phase: started ? 'Running' : 'Pending',
    conditions: ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map(
      (type) => ({
        ...{ type, status: started ? 'True' : 'False', lastProbeTime: null, lastTransitionTime: START },
      }),
    ),
    ...{
      hostIP: '10.0.0.1',
      hostIPs: [{ ip: '10.0.0.1' }],
      podIP: '127.0.0.1',
      podIPs: [{ ip: '127.0.0.1' }],
    },
    ...{ startTime: START, qosClass: 'Burstable' },
    initContainerStatuses: statuses(spec.initContainers),
    containerStatuses: statuses(spec.containers),
  }
}

function metadataAt(stage: Stage, { metadata, spec }: Record<string, Dict>, status: Dict): Dict {
  const { labels, annotations } = metadata as Record<string, Dict>
  const entry = { operation: 'Update', apiVersion: 'v1', time: START, fieldsType: 'FieldsV1' }
  const owner = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'orders-6d5f7c9b8', controller: true }
  return {
    name: '@NAME@',
    generateName: 'orders-6d5f7c9b8-',
    namespace: '@NAMESPACE@',
    uid: '@UID@',
    resourceVersion: '@VERSION@',
    creationTimestamp: START,
    ...(stage === 'leaving' ? { deletionTimestamp: START, deletionGracePeriodSeconds: 30 } : {}),
    labels: { ...labels, 'pod-template-hash': '6d5f7c9b8' },
    annotations,
    ownerReferences: [{ ...owner, uid: '5f0c0f0e-7f3c-4a49-9c8b-2f3f1c1f7a10', blockOwnerDeletion: true }],
    managedFields: [
      { manager: 'kube-controller-manager', ...entry, fieldsV1: fieldsOf({ metadata, spec }) },
      { manager: 'kubelet', ...entry, fieldsV1: fieldsOf({ status }), subresource: 'status' },
    ],
  }
}

/** The texts of all stages, into which a pod's own name, namespace, uid and version are inserted. */
export function podTexts(injected: boolean): PodTexts {
  const pod = stored(injected) as Record<string, Dict>
  const texts = (of: (metadata: Dict, status: Dict) => object) => {
    const byStage = new Map(
      STAGES.map((stage) => {
        const status = statusAt(stage, pod.spec ?? {})
        return [stage, JSON.stringify(of(metadataAt(stage, pod, status), status)).split(TOKENS)]
      }),
    )
    return (stage: Stage, at: Place, version: number) => filled(byStage.get(stage) ?? [], at, version)
  }
  const spec = { ...pod.spec, nodeName: 'ip-10-0-0-1.internal' }
  return {
    whole: texts((metadata, status) => ({ kind: 'Pod', apiVersion: 'v1', metadata, spec, status })),
    metadata: texts((metadata) => ({
      kind: 'PartialObjectMetadata',
      apiVersion: 'meta.k8s.io/v1',
      metadata,
    })),
  }
}

/** Every second part is the name of a placeholder. */
function filled(parts: readonly string[], at: Place, version: number): string {
  const values: Readonly<Record<string, string>> = {
    NAME: at.name,
    NAMESPACE: at.namespace,
    UID: at.uid,
    VERSION: String(version),
  }
  let text = ''
  for (const [index, part] of parts.entries()) text += index % 2 === 0 ? part : values[part]
  return text
}
