/** The parts of the Kubernetes API's core/v1 that the kubelet stand-in reads and writes, as they are on the wire. */
import type { ObjectMeta } from '../kube/client/client.ts'

export type Metadata = ObjectMeta & { readonly name: string }

type EnvVar = {
  readonly name: string
  readonly value?: string
  readonly valueFrom?: {
    readonly fieldRef?: { readonly fieldPath: string }
    readonly resourceFieldRef?: unknown
    readonly configMapKeyRef?: KeyRef
    readonly secretKeyRef?: KeyRef
  }
}

export type KeyRef = { readonly name: string; readonly key: string; readonly optional?: boolean }

export type SecurityContext = {
  readonly runAsUser?: number
  readonly runAsGroup?: number
  readonly runAsNonRoot?: boolean
  readonly privileged?: boolean
  readonly allowPrivilegeEscalation?: boolean
  readonly readOnlyRootFilesystem?: boolean
  readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] }
}

export type PodSecurityContext = Pick<SecurityContext, 'runAsUser' | 'runAsGroup' | 'runAsNonRoot'> & {
  readonly fsGroup?: number
  readonly supplementalGroups?: readonly number[]
}

export type Probe = {
  readonly exec?: { readonly command: readonly string[] }
  readonly httpGet?: {
    readonly path?: string
    readonly port: number | string
    readonly host?: string
    readonly scheme?: 'HTTP' | 'HTTPS'
    readonly httpHeaders?: readonly { readonly name: string; readonly value: string }[]
  }
  readonly tcpSocket?: { readonly port: number | string; readonly host?: string }
  readonly grpc?: unknown
  readonly initialDelaySeconds?: number
  readonly periodSeconds?: number
  readonly timeoutSeconds?: number
  readonly failureThreshold?: number
  readonly successThreshold?: number
}

type LifecycleHandler = {
  readonly exec?: { readonly command: readonly string[] }
  readonly httpGet?: unknown
  readonly sleep?: unknown
  readonly tcpSocket?: unknown
}

export type Lifecycle = {
  readonly postStart?: LifecycleHandler
  readonly preStop?: LifecycleHandler
  readonly stopSignal?: string
}

type VolumeMount = {
  readonly name: string
  readonly mountPath: string
  readonly readOnly?: boolean
  readonly subPath?: string
}

type RestartPolicy = 'Always' | 'OnFailure' | 'Never'

export type Container = {
  readonly name: string
  readonly image: string
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly workingDir?: string
  readonly env?: readonly EnvVar[]
  readonly envFrom?: readonly {
    readonly prefix?: string
    readonly configMapRef?: { readonly name: string; readonly optional?: boolean }
    readonly secretRef?: { readonly name: string; readonly optional?: boolean }
  }[]
  readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[]
  readonly volumeMounts?: readonly VolumeMount[]
  readonly securityContext?: SecurityContext
  /** `Always` makes an init container a native sidecar; other values override the pod's (Kubernetes 1.35). */
  readonly restartPolicy?: RestartPolicy
  readonly startupProbe?: Probe
  readonly readinessProbe?: Probe
  readonly livenessProbe?: Probe
  readonly lifecycle?: Lifecycle
  readonly terminationMessagePath?: string
  readonly terminationMessagePolicy?: 'File' | 'FallbackToLogsOnError'
}

type KeyToPath = { readonly key: string; readonly path: string; readonly mode?: number }

export type ProjectedSource = {
  readonly serviceAccountToken?: {
    readonly path: string
    readonly audience?: string
    readonly expirationSeconds?: number
  }
  readonly configMap?: NamedItems
  readonly secret?: NamedItems
  readonly downwardAPI?: { readonly items?: readonly DownwardItem[] }
}

export type NamedItems = {
  readonly name: string
  readonly items?: readonly KeyToPath[]
  readonly optional?: boolean
}

export type DownwardItem = {
  readonly path: string
  readonly fieldRef?: { readonly fieldPath: string }
  readonly resourceFieldRef?: unknown
  readonly mode?: number
}

export type Volume = {
  readonly name: string
  readonly emptyDir?: { readonly medium?: string }
  readonly hostPath?: { readonly path: string; readonly type?: string }
  readonly projected?: { readonly sources: readonly ProjectedSource[]; readonly defaultMode?: number }
  readonly configMap?: NamedItems & { readonly defaultMode?: number }
  readonly secret?: Omit<NamedItems, 'name'> & { readonly secretName: string; readonly defaultMode?: number }
  readonly downwardAPI?: { readonly items?: readonly DownwardItem[]; readonly defaultMode?: number }
}

export type Toleration = {
  readonly key?: string
  readonly operator?: 'Exists' | 'Equal'
  readonly value?: string
  readonly effect?: string
}

export type PodSpec = {
  readonly nodeName?: string
  readonly nodeSelector?: Readonly<Record<string, string>>
  readonly tolerations?: readonly Toleration[]
  readonly hostNetwork?: boolean
  readonly hostPID?: boolean
  readonly hostIPC?: boolean
  readonly shareProcessNamespace?: boolean
  readonly serviceAccountName?: string
  readonly automountServiceAccountToken?: boolean
  readonly restartPolicy?: RestartPolicy
  readonly terminationGracePeriodSeconds?: number
  readonly securityContext?: PodSecurityContext
  readonly initContainers?: readonly Container[]
  readonly containers: readonly Container[]
  readonly volumes?: readonly Volume[]
}

export type Pod = {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: Metadata
  readonly spec: PodSpec
  readonly status?: PodStatus
}

export type ContainerState =
  | { readonly waiting: { readonly reason: string; readonly message?: string } }
  | { readonly running: { readonly startedAt: string } }
  | { readonly terminated: TerminatedState }

export type TerminatedState = {
  readonly exitCode: number
  readonly signal?: number
  readonly reason: string
  readonly message?: string
  readonly startedAt?: string
  readonly finishedAt?: string
}

export type ContainerStatus = {
  readonly name: string
  readonly image: string
  readonly imageID: string
  readonly containerID?: string
  readonly ready: boolean
  readonly started: boolean
  readonly restartCount: number
  readonly state: ContainerState
  readonly lastState: ContainerState | Record<string, never>
}

export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed'

export type PodCondition = {
  readonly type: string
  readonly status: 'True' | 'False'
  readonly lastTransitionTime: string
  readonly reason?: string
  readonly message?: string
}

export type PodStatus = {
  readonly phase?: PodPhase
  readonly reason?: string
  readonly message?: string
  readonly hostIP?: string
  readonly hostIPs?: readonly { readonly ip: string }[]
  readonly podIP?: string
  readonly podIPs?: readonly { readonly ip: string }[]
  readonly startTime?: string
  readonly qosClass?: string
  readonly conditions?: readonly PodCondition[]
  readonly initContainerStatuses?: readonly ContainerStatus[]
  readonly containerStatuses?: readonly ContainerStatus[]
}

/** An init container that is a native sidecar (KEP-753). */
export function isSidecar(container: Container): boolean {
  return container.restartPolicy === 'Always'
}

/** `namespace/name` of a pod. */
export function podKey(pod: { readonly metadata: Metadata }): string {
  return `${pod.metadata.namespace ?? 'default'}/${pod.metadata.name}`
}
