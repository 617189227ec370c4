/** Defaults of a pod: decoding (pkg/apis/core/v1/defaults.go) and the admission plugins that always run. */
import { randomBytes } from 'node:crypto'
import { defaultHttpGet, defaultLifecycle } from './lifecycle.ts'
import { isObject, type JsonObject, type KubeObject, listAt, objectAt, stringAt } from './objects.ts'
import { forbidden } from './status.ts'
import type { Store } from './store.ts'

const PODS = { group: '', plural: 'pods' }
const API_TOKEN_MOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'
const API_TOKEN_VOLUME = 'kube-api-access'

/** Letters of generated names (k8s.io/apimachinery/pkg/util/rand): no vowels, no look-alikes. */
const LETTERS = 'bcdfghjklmnpqrstvwxz2456789'

/** `generateName` plus five letters, as the server generates names. */
export function generateName(base: string): string {
  return `${base.slice(0, 58)}${[...randomBytes(5)].map((byte) => LETTERS[byte % LETTERS.length]).join('')}`
}

const given = (object: JsonObject, defaults: JsonObject): JsonObject => ({ ...defaults, ...object })

function pullPolicy(image: unknown): string {
  const text = typeof image === 'string' ? image : ''
  const tag = /:([^:/@]+)$/.exec(text)?.[1]
  return tag === 'latest' || (tag === undefined && !text.includes('@')) ? 'Always' : 'IfNotPresent'
}

const PROBE = { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 }

function probe(value: JsonObject): JsonObject {
  const result = given(value, PROBE)
  if (isObject(value.httpGet)) result.httpGet = defaultHttpGet(value.httpGet)
  return result
}

/** A limit without a request implies the request. */
function resources(value: JsonObject): JsonObject {
  const limits = objectAt(value, 'limits')
  if (Object.keys(limits).length === 0) return value
  return { ...value, requests: { ...limits, ...objectAt(value, 'requests') } }
}

function container(value: JsonObject, hostNetwork: boolean): JsonObject {
  const result = given(value, {
    resources: {},
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    imagePullPolicy: pullPolicy(value.image),
  })
  result.resources = resources(objectAt(result, 'resources'))
  if (Array.isArray(value.ports))
    result.ports = listAt(value, 'ports').map((port) =>
      given(port, { protocol: 'TCP', ...(hostNetwork ? { hostPort: port.containerPort } : {}) }),
    )
  if (Array.isArray(value.env))
    result.env = listAt(value, 'env').map((entry) => {
      const fieldRef = objectAt(entry, 'valueFrom', 'fieldRef')
      if (fieldRef.fieldPath === undefined) return entry
      const valueFrom = { ...objectAt(entry, 'valueFrom'), fieldRef: given(fieldRef, { apiVersion: 'v1' }) }
      return { ...entry, valueFrom }
    })
  for (const name of ['livenessProbe', 'readinessProbe', 'startupProbe']) {
    const existing = value[name]
    if (isObject(existing)) result[name] = probe(existing)
  }
  const { lifecycle, ...others } = result
  const hooks = isObject(lifecycle) ? defaultLifecycle(lifecycle) : lifecycle
  return hooks === undefined ? others : { ...others, lifecycle: hooks }
}

function source(value: JsonObject): JsonObject {
  if (!isObject(value.serviceAccountToken)) return value
  return { ...value, serviceAccountToken: given(value.serviceAccountToken, { expirationSeconds: 3600 }) }
}

function volume(value: JsonObject): JsonObject {
  const result = { ...value }
  for (const kind of ['projected', 'secret', 'configMap', 'downwardAPI']) {
    const existing = value[kind]
    if (isObject(existing)) result[kind] = given(existing, { defaultMode: 420 })
  }
  if (isObject(result.projected))
    result.projected = { ...result.projected, sources: listAt(result.projected, 'sources').map(source) }
  if (isObject(value.hostPath)) result.hostPath = given(value.hostPath, { type: '' })
  if (Object.keys(value).length === 1) result.emptyDir = {}
  return result
}

/** Decoding defaults of a pod spec or of a template's. */
export function defaultPodSpec(spec: JsonObject): JsonObject {
  const result = given(spec, {
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    dnsPolicy: 'ClusterFirst',
    securityContext: {},
    schedulerName: 'default-scheduler',
    enableServiceLinks: true,
  })
  const account = stringAt(spec, 'serviceAccountName') ?? stringAt(spec, 'serviceAccount')
  if (account !== undefined) Object.assign(result, { serviceAccountName: account, serviceAccount: account })
  for (const name of ['containers', 'initContainers', 'ephemeralContainers'])
    if (Array.isArray(spec[name]))
      result[name] = listAt(spec, name).map((one) => container(one, spec.hostNetwork === true))
  if (Array.isArray(spec.volumes)) result.volumes = listAt(spec, 'volumes').map(volume)
  return result
}

const TOKEN_SOURCES = [
  { serviceAccountToken: { expirationSeconds: 3607, path: 'token' } },
  { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
  {
    downwardAPI: {
      items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
    },
  },
]

function mountToken(spec: JsonObject): JsonObject {
  const existing = listAt(spec, 'volumes').find((v) =>
    stringAt(v, 'name')?.startsWith(`${API_TOKEN_VOLUME}-`),
  )
  const name = stringAt(existing, 'name') ?? generateName(`${API_TOKEN_VOLUME}-`)
  let needed = false
  const withMount = (one: JsonObject): JsonObject => {
    const mounts = listAt(one, 'volumeMounts')
    if (mounts.some((mount) => mount.mountPath === API_TOKEN_MOUNT)) return one
    needed = true
    return { ...one, volumeMounts: [...mounts, { name, readOnly: true, mountPath: API_TOKEN_MOUNT }] }
  }
  const result = { ...spec }
  for (const field of ['initContainers', 'containers'])
    if (Array.isArray(spec[field])) result[field] = listAt(spec, field).map(withMount)
  if (needed && existing === undefined)
    result.volumes = [
      ...listAt(spec, 'volumes'),
      { name, projected: { defaultMode: 420, sources: TOKEN_SOURCES } },
    ]
  return result
}

/**
 * The ServiceAccount plugin: default account, and the automatic token mounted into every container. It runs again
 * when a webhook changed the pod, so containers that webhooks add get the mount, too.
 *
 * @throws ApiError 403 when the account does not exist
 */
export function serviceAccountPlugin(store: Store, pod: KubeObject): KubeObject {
  const { namespace = '', name = '', annotations = {} } = pod.metadata
  if ('kubernetes.io/config.mirror' in annotations) return pod
  const spec = objectAt(pod, 'spec')
  const accountName = stringAt(spec, 'serviceAccountName') || 'default'
  const account = store.get({ group: '', plural: 'serviceaccounts' }, namespace, accountName)
  if (account === undefined)
    throw forbidden(
      PODS,
      name || (pod.metadata.generateName ?? ''),
      `error looking up service account ${namespace}/${accountName}: serviceaccount "${accountName}" not found`,
    )
  const named = { ...spec, serviceAccountName: accountName, serviceAccount: accountName }
  const automount = spec.automountServiceAccountToken ?? account.automountServiceAccountToken ?? true
  return { ...pod, spec: automount === false ? named : mountToken(named) }
}

const PRIORITIES: Readonly<Record<string, number>> = {
  'system-node-critical': 2_000_001_000,
  'system-cluster-critical': 2_000_000_000,
}

/** The Priority plugin. */
export function priorityPlugin(store: Store, pod: KubeObject): KubeObject {
  const spec = objectAt(pod, 'spec')
  const name = stringAt(spec, 'priorityClassName') ?? ''
  const stored = store.get({ group: 'scheduling.k8s.io', plural: 'priorityclasses' }, undefined, name)?.value
  const priority = name === '' ? 0 : (PRIORITIES[name] ?? stored)
  if (priority === undefined)
    throw forbidden(PODS, pod.metadata.name ?? '', `no PriorityClass with name ${name} was found`)
  return { ...pod, spec: given(spec, { priority, preemptionPolicy: 'PreemptLowerPriority' }) }
}

/** The DefaultTolerationSeconds plugin: five minutes on a node that is gone. */
export function tolerationPlugin(pod: KubeObject): KubeObject {
  const spec = objectAt(pod, 'spec')
  const tolerations = listAt(spec, 'tolerations')
  const added = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable']
    .filter(
      (key) =>
        !tolerations.some(
          (t) =>
            (t.key === key || t.key === undefined) && (t.effect === 'NoExecute' || t.effect === undefined),
        ),
    )
    .map((key) => ({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 }))
  if (added.length === 0) return pod
  return { ...pod, spec: { ...spec, tolerations: [...tolerations, ...added] } }
}

function quantities(one: JsonObject, kind: 'limits' | 'requests'): JsonObject {
  const all = objectAt(one, 'resources', kind)
  return Object.fromEntries(Object.entries(all).filter(([name]) => name === 'cpu' || name === 'memory'))
}

/**
 * `status.qosClass`: Guaranteed requires equal cpu and memory limits in every container or, if the pod as a whole has resources, only
 * in the pod (pkg/apis/core/v1/helper/qos).
 */
export function qosClass(spec: JsonObject): 'Guaranteed' | 'Burstable' | 'BestEffort' {
  const all =
    Object.keys(objectAt(spec, 'resources')).length > 0
      ? [spec]
      : [...listAt(spec, 'containers'), ...listAt(spec, 'initContainers')]
  const none = all.every(
    (c) => Object.keys(quantities(c, 'limits')).length + Object.keys(quantities(c, 'requests')).length === 0,
  )
  if (none) return 'BestEffort'
  const guaranteed = all.every((c) => {
    const limits = quantities(c, 'limits')
    const requests = quantities(c, 'requests')
    return Object.keys(limits).length === 2 && Object.entries(requests).every(([k, v]) => limits[k] === v)
  })
  return guaranteed ? 'Guaranteed' : 'Burstable'
}
