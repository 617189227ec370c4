/** Decoding defaults by kind, and what the server sets in a new object's spec and status. */
import { type JsonObject, type KubeObject, listAt, objectAt } from './objects.ts'
import { defaultPodSpec, qosClass } from './pod-defaults.ts'

const given = (object: JsonObject, defaults: JsonObject): JsonObject => ({ ...defaults, ...object })

function template(spec: JsonObject, podDefaults: JsonObject = {}): JsonObject {
  const existing = objectAt(spec, 'template')
  return {
    ...spec,
    template: {
      ...existing,
      metadata: objectAt(existing, 'metadata'),
      spec: defaultPodSpec({ ...podDefaults, ...objectAt(existing, 'spec') }),
    },
  }
}

const ROLLING = { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: '25%', maxSurge: '25%' } }
const DAEMON_ROLLING = { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 1, maxSurge: 0 } }

function jobSpec(spec: JsonObject): JsonObject {
  const defaulted = given(spec, {
    parallelism: 1,
    completions: 1,
    backoffLimit: 6,
    completionMode: 'NonIndexed',
    suspend: false,
    podReplacementPolicy: 'TerminatingOrFailed',
  })
  return template(defaulted)
}

/** Adds fields to every webhook of a configuration. */
function webhooks(object: KubeObject, extra: JsonObject): KubeObject {
  const entries = listAt(object, 'webhooks').map((webhook) => {
    const clientConfig = objectAt(webhook, 'clientConfig')
    const service = objectAt(clientConfig, 'service')
    return given(
      {
        ...webhook,
        clientConfig:
          service.name === undefined
            ? clientConfig
            : { ...clientConfig, service: given(service, { port: 443 }) },
        rules: listAt(webhook, 'rules').map((rule) => given(rule, { scope: '*' })),
      },
      {
        failurePolicy: 'Fail',
        matchPolicy: 'Equivalent',
        namespaceSelector: {},
        objectSelector: {},
        timeoutSeconds: 10,
        ...extra,
      },
    )
  })
  return { ...object, webhooks: entries }
}

function secret(object: KubeObject): KubeObject {
  const { stringData, ...rest } = object
  const encoded = Object.entries(objectAt({ stringData }, 'stringData')).map(([key, value]) => [
    key,
    Buffer.from(String(value)).toString('base64'),
  ])
  const data = { ...objectAt(object, 'data'), ...Object.fromEntries(encoded) }
  return { ...rest, type: object.type ?? 'Opaque', ...(Object.keys(data).length > 0 ? { data } : {}) }
}

function service(object: KubeObject): KubeObject {
  const spec = given(objectAt(object, 'spec'), { type: 'ClusterIP', sessionAffinity: 'None' })
  spec.ports = listAt(spec, 'ports').map((port) => given(port, { protocol: 'TCP', targetPort: port.port }))
  return { ...object, spec }
}

type Default = (object: KubeObject, spec: JsonObject) => KubeObject
const DEFAULTS: Readonly<Record<string, Default>> = {
  Pod: (object, spec) => ({ ...object, spec: defaultPodSpec(spec) }),
  Deployment: (object, spec) => ({
    ...object,
    spec: template(
      given(spec, {
        replicas: 1,
        strategy: ROLLING,
        revisionHistoryLimit: 10,
        progressDeadlineSeconds: 600,
      }),
    ),
  }),
  ReplicaSet: (object, spec) => ({ ...object, spec: template(given(spec, { replicas: 1 })) }),
  DaemonSet: (object, spec) => ({
    ...object,
    spec: template(given(spec, { updateStrategy: DAEMON_ROLLING, revisionHistoryLimit: 10 })),
  }),
  StatefulSet: (object, spec) => ({
    ...object,
    spec: template(
      given(spec, {
        replicas: 1,
        podManagementPolicy: 'OrderedReady',
        updateStrategy: { type: 'RollingUpdate' },
      }),
    ),
  }),
  Job: (object, spec) => ({ ...object, spec: jobSpec(spec) }),
  CronJob: (object, spec) => {
    const jobTemplate = objectAt(spec, 'jobTemplate')
    const inner = { ...jobTemplate, spec: template(objectAt(jobTemplate, 'spec')) }
    return {
      ...object,
      spec: given({ ...spec, jobTemplate: inner }, { concurrencyPolicy: 'Allow', suspend: false }),
    }
  },
  Namespace: (object, spec) => ({
    ...object,
    metadata: {
      ...object.metadata,
      labels: { ...object.metadata.labels, 'kubernetes.io/metadata.name': object.metadata.name ?? '' },
    },
    spec: given(spec, { finalizers: ['kubernetes'] }),
  }),
  Secret: secret,
  Service: service,
  MutatingWebhookConfiguration: (object) => webhooks(object, { reinvocationPolicy: 'Never' }),
  ValidatingWebhookConfiguration: (object) => webhooks(object, {}),
}

/** The object as decoding returns it: with defaults. Idempotent; applied again to what webhooks return. */
export function withDefaults(object: KubeObject): KubeObject {
  return DEFAULTS[object.kind]?.(object, objectAt(object, 'spec')) ?? object
}

const TEMPLATE_KINDS = new Set(['Deployment', 'ReplicaSet', 'DaemonSet', 'StatefulSet'])

/** The status a new object starts with, whatever the client sent. */
export function initialStatus(object: KubeObject): JsonObject | undefined {
  const spec = objectAt(object, 'spec')
  if (object.kind === 'Pod') return { phase: 'Pending', qosClass: qosClass(spec) }
  if (object.kind === 'Namespace') return { phase: 'Active' }
  if (TEMPLATE_KINDS.has(object.kind)) return {}
  return undefined
}
