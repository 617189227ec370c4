/**
 * What widely installed tools do to a pod when it is created, each as its own code or documentation has it: admission webhooks,
 * admission plugins, and what restores or copies pods. `docs/other-tools.md` has the same rows.
 */
import type { Dict } from './fixtures.ts'

type Container = Dict & {
  name: string
  env?: Dict[]
  volumeMounts?: Dict[]
  securityContext?: Dict
  image?: string
}
export type ToolPod = {
  metadata: Dict & { annotations: Record<string, string>; labels?: Record<string, string> }
  spec: Dict & { containers: Container[]; initContainers?: Container[]; volumes?: Dict[] }
}

/** What happens to our containers when the tool changes the pod after the injector. */
type Outcome =
  /** The tool does not change them. */
  | 'untouched'
  /** What the tool adds to them is harmless, so it is kept. */
  | 'kept'
  /** When the injector is called again, it moves its containers or removes what was added to them. */
  | 'corrected'

export type Tool = {
  readonly name: string
  /** What it does, with the text of the table. */
  readonly does: string
  readonly outcome: Outcome
  /** Whether a pod is still admitted if the tool changes it after the last call of the injector. */
  readonly lastWord: 'admitted' | 'refused'
  readonly act: (pod: ToolPod) => void
}

const inits = (pod: ToolPod): Container[] => {
  pod.spec.initContainers ??= []
  return pod.spec.initContainers
}
const everywhere = (pod: ToolPod) => [...pod.spec.containers, ...inits(pod)]
const apps = (pod: ToolPod) => pod.spec.containers
/** Adds variables like a webhook that may be called twice: those that are there already are not added again. */
const env = (containers: readonly Container[], ...entries: Dict[]) => {
  for (const container of containers) {
    container.env ??= []
    for (const entry of entries)
      if (!container.env.some(({ name }) => name === entry.name)) container.env.push({ ...entry })
  }
}
const mount = (containers: readonly Container[], entry: Dict) => {
  for (const container of containers) {
    container.volumeMounts ??= []
    if (!container.volumeMounts.some(({ mountPath }) => mountPath === entry.mountPath))
      container.volumeMounts.push({ ...entry })
  }
}
const volume = (pod: ToolPod, entry: Dict) => {
  pod.spec.volumes ??= []
  if (!pod.spec.volumes.some(({ name }) => name === entry.name)) pod.spec.volumes.push(entry)
}
const first = (pod: ToolPod, ...containers: Container[]) => {
  for (const container of containers.toReversed())
    if (!inits(pod).some(({ name }) => name === container.name)) inits(pod).unshift(container)
}
const last = (list: Container[], container: Container) => {
  if (!list.some(({ name }) => name === container.name)) list.push(container)
}
const plain = (name: string, more: Dict = {}): Container => ({
  name,
  image: `example.com/${name}:1`,
  ...more,
})

export const TOOLS: readonly Tool[] = [
  {
    name: 'Velero, restore of a volume',
    does: 'init container `restore-wait` (before 1.11 `restic-wait`) before all others, of a pod that has our containers already',
    outcome: 'corrected',
    lastWord: 'admitted',
    act: (pod) =>
      first(pod, {
        ...plain('restore-wait', { args: ['11a2'], command: ['/velero-restore-helper'] }),
        env: [{ name: 'POD_NAMESPACE', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } }],
        volumeMounts: [{ name: 'data', mountPath: '/restores/data' }],
      }),
  },
  {
    name: 'Istio',
    does: '`istio-init`, `istio-validation` and, as a native sidecar, `istio-proxy` before all others',
    outcome: 'untouched',
    lastWord: 'admitted',
    act: (pod) => first(pod, plain('istio-init'), plain('istio-proxy', { restartPolicy: 'Always' })),
  },
  {
    name: 'Linkerd',
    does: '`linkerd-init` and `linkerd-proxy` before all others',
    outcome: 'untouched',
    lastWord: 'admitted',
    act: (pod) => first(pod, plain('linkerd-init'), plain('linkerd-proxy', { restartPolicy: 'Always' })),
  },
  {
    name: 'Kuma, Kong Mesh',
    does: '`kuma-init` and `kuma-sidecar`; as native sidecars before all others',
    outcome: 'untouched',
    lastWord: 'admitted',
    act: (pod) => first(pod, plain('kuma-init'), plain('kuma-sidecar', { restartPolicy: 'Always' })),
  },
  {
    name: 'Consul service mesh',
    does: '`consul-connect-inject-init` after the other init containers, `consul-dataplane` among the containers',
    outcome: 'untouched',
    lastWord: 'admitted',
    act: (pod) => {
      last(inits(pod), plain('consul-connect-inject-init'))
      last(apps(pod), plain('consul-dataplane'))
    },
  },
  {
    name: 'Vault Agent injector, `agent-init-first`',
    does: '`vault-agent-init` before all others; `/vault/secrets` mounted in every container',
    outcome: 'corrected',
    lastWord: 'refused',
    act: (pod) => {
      volume(pod, { name: 'vault-secrets', emptyDir: { medium: 'Memory' } })
      mount(everywhere(pod), { name: 'vault-secrets', mountPath: '/vault/secrets' })
      first(pod, plain('vault-agent-init'))
      last(apps(pod), plain('vault-agent'))
    },
  },
  {
    name: 'Datadog Admission Controller, configuration',
    does: '`DD_AGENT_HOST`, `DD_ENTITY_ID`, … in every container',
    outcome: 'kept',
    lastWord: 'admitted',
    act: (pod) =>
      env(
        everywhere(pod),
        { name: 'DD_AGENT_HOST', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } },
        { name: 'DD_ENTITY_ID', valueFrom: { fieldRef: { fieldPath: 'metadata.uid' } } },
      ),
  },
  {
    name: 'Datadog library injection',
    does: '`datadog-init-apm-inject` before all others; `NODE_OPTIONS`, `JAVA_TOOL_OPTIONS`, `LD_PRELOAD` and a mount in the containers',
    outcome: 'corrected',
    lastWord: 'admitted',
    act: (pod) => {
      volume(pod, { name: 'datadog-auto-instrumentation', emptyDir: {} })
      first(pod, plain('datadog-init-apm-inject'))
      env(apps(pod), { name: 'LD_PRELOAD', value: '/opt/datadog-packages/apm-inject/launcher.preload.so' })
      env(apps(pod), { name: 'NODE_OPTIONS', value: '--require=/datadog-lib/node/autoinstrument' })
      mount(apps(pod), { name: 'datadog-auto-instrumentation', mountPath: '/datadog-lib' })
    },
  },
  {
    name: 'OpenTelemetry operator',
    does: 'an init container with the agent at the end; `OTEL_…` and `NODE_OPTIONS` or the like in the chosen containers',
    outcome: 'untouched',
    lastWord: 'admitted',
    act: (pod) => {
      last(inits(pod), plain('opentelemetry-auto-instrumentation-nodejs'))
      env(apps(pod).slice(0, 1), {
        name: 'NODE_OPTIONS',
        value: ' --require /otel-auto-instrumentation-nodejs/x.js',
      })
    },
  },
  {
    name: 'New Relic agents operator',
    does: 'an init container with the agent at the end; `NEW_RELIC_…` and `JAVA_TOOL_OPTIONS` in the first container',
    outcome: 'untouched',
    lastWord: 'admitted',
    act: (pod) => {
      last(inits(pod), plain('newrelic-instrumentation-java'))
      env(apps(pod).slice(0, 1), {
        name: 'JAVA_TOOL_OPTIONS',
        value: '-javaagent:/newrelic-instrumentation/x.jar',
      })
    },
  },
  {
    name: 'Dynatrace operator',
    does: '`dynatrace-operator` (`install-oneagent`) before all others; `LD_PRELOAD`, `DT_…` and mounts in the containers',
    outcome: 'corrected',
    lastWord: 'admitted',
    act: (pod) => {
      first(pod, plain('dynatrace-operator'))
      env(apps(pod), {
        name: 'LD_PRELOAD',
        value: '/opt/dynatrace/oneagent-paas/agent/lib64/liboneagentproc.so',
      })
      mount(apps(pod), { name: 'oneagent-bin', mountPath: '/opt/dynatrace/oneagent-paas', readOnly: true })
    },
  },
  {
    name: 'Dapr',
    does: '`daprd` among the containers; `DAPR_HTTP_PORT`, `DAPR_GRPC_PORT` in every other one',
    outcome: 'kept',
    lastWord: 'admitted',
    act: (pod) => {
      env(
        everywhere(pod),
        { name: 'DAPR_HTTP_PORT', value: '3500' },
        { name: 'DAPR_GRPC_PORT', value: '50001' },
      )
      last(apps(pod), plain('daprd'))
    },
  },
  {
    name: 'EKS: pod identity webhook (IRSA and Pod Identity)',
    does: '`AWS_…` and a read-only token mount in every container',
    outcome: 'kept',
    lastWord: 'admitted',
    act: (pod) => {
      volume(pod, { name: 'aws-iam-token', projected: { sources: [] } })
      env(everywhere(pod), { name: 'AWS_ROLE_ARN', value: 'arn:aws:iam::111111111111:role/x' })
      mount(everywhere(pod), {
        name: 'aws-iam-token',
        mountPath: '/var/run/secrets/eks.amazonaws.com/serviceaccount',
        readOnly: true,
      })
    },
  },
  {
    name: 'Azure Workload Identity, GCP workload identity federation',
    does: '`AZURE_…` or `GOOGLE_…`, `CLOUDSDK_…` and a read-only token mount in every container',
    outcome: 'kept',
    lastWord: 'admitted',
    act: (pod) => {
      env(everywhere(pod), { name: 'AZURE_FEDERATED_TOKEN_FILE', value: '/var/run/secrets/azure/tokens/x' })
      env(everywhere(pod), { name: 'GOOGLE_APPLICATION_CREDENTIALS', value: '/var/run/secrets/x' })
      mount(everywhere(pod), {
        name: 'azure-identity-token',
        mountPath: '/var/run/secrets/azure/tokens',
        readOnly: true,
      })
    },
  },
  {
    name: 'Proxy injectors (PodPreset-like webhooks, Kyverno `add-env`)',
    does: '`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` in both spellings, `JAVA_TOOL_OPTIONS` in every container',
    outcome: 'kept',
    lastWord: 'admitted',
    act: (pod) => {
      for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'no_proxy'])
        env(everywhere(pod), { name, value: 'http://proxy.example.com:3128' })
      env(everywhere(pod), { name: 'JAVA_TOOL_OPTIONS', value: '-Dx=1' })
    },
  },
  {
    name: 'Certificate injectors (Kyverno `add-ca-certificates`, trust bundles)',
    does: 'a read-only mount at `/etc/ssl/certs` in every container',
    outcome: 'kept',
    lastWord: 'admitted',
    act: (pod) => {
      volume(pod, { name: 'etc-ssl-certs', configMap: { name: 'ca-pemstore' } })
      mount(everywhere(pod), { name: 'etc-ssl-certs', mountPath: '/etc/ssl/certs', readOnly: true })
    },
  },
  {
    name: 'Kyverno, Gatekeeper mutation: security defaults',
    does: '`runAsNonRoot`, `capabilities.drop`, `seccompProfile` and the like in every container',
    outcome: 'corrected',
    lastWord: 'refused',
    act: (pod) => {
      for (const container of everywhere(pod))
        container.securityContext = {
          ...container.securityContext,
          capabilities: { drop: ['ALL'] },
          runAsNonRoot: true,
        }
    },
  },
  {
    name: 'OpenShift security context constraints',
    does: '`seLinuxOptions.level` of the namespace in every container',
    outcome: 'kept',
    lastWord: 'admitted',
    act: (pod) => {
      for (const container of everywhere(pod))
        container.securityContext = { ...container.securityContext, seLinuxOptions: { level: 's0:c26,c5' } }
    },
  },
  {
    name: 'LimitRanger, VerticalPodAutoscaler',
    does: 'requests and limits of every container',
    outcome: 'kept',
    lastWord: 'admitted',
    act: (pod) => {
      for (const container of everywhere(pod))
        container.resources = { requests: { cpu: '25m', memory: '64Mi' }, limits: { memory: '128Mi' } }
    },
  },
  {
    name: 'AlwaysPullImages',
    does: '`imagePullPolicy: Always` in every container',
    outcome: 'kept',
    lastWord: 'admitted',
    act: (pod) => {
      for (const container of everywhere(pod)) container.imagePullPolicy = 'Always'
    },
  },
  {
    name: 'k8s-image-swapper',
    does: 'images become `<account>.dkr.ecr.<region>.amazonaws.com/<image>`; needs `injector.trustedRegistries`',
    outcome: 'kept',
    lastWord: 'admitted',
    act: (pod) => swap(pod, '111111111111.dkr.ecr.eu-west-1.amazonaws.com/'),
  },
  {
    name: 'kube-image-keeper',
    does: 'images become `localhost:7439/<image>`; needs `injector.trustedRegistries`',
    outcome: 'kept',
    lastWord: 'admitted',
    act: (pod) => swap(pod, 'localhost:7439/'),
  },
  {
    name: 'Signature verification (Kyverno `verifyImages`, policy-controller)',
    does: 'a digest is appended to the images',
    outcome: 'kept',
    lastWord: 'admitted',
    act: (pod) => {
      for (const container of everywhere(pod))
        if (container.image?.includes('@') === false) container.image += `@sha256:${'ab'.repeat(32)}`
    },
  },
  {
    name: 'Schedulers and queues (Kueue, Karpenter, Volcano)',
    does: 'scheduling gates, node selectors, tolerations of the pod',
    outcome: 'untouched',
    lastWord: 'admitted',
    act: (pod) => {
      pod.spec.schedulingGates = [{ name: 'kueue.x-k8s.io/admission' }]
      pod.spec.tolerations = [{ key: 'x', operator: 'Exists' }]
    },
  },
]

function swap(pod: ToolPod, registry: string) {
  for (const container of everywhere(pod))
    if (container.image?.startsWith(registry) === false) container.image = registry + container.image
}
