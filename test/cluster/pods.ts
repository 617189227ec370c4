/** The objects that the test creates. Pure. */
import type { KubeObject } from '../sandbox/kube/objects/objects.ts'
import { LABEL, namespaceOf, type Place, type Run } from './context.ts'

/** The variable that has the program of the test's pods: one text for the container's command and for `exec`. */
export const PROGRAM_VARIABLE = 'CLUSTER_TEST_PROGRAM'
export const ROLE = 'iam.amazonaws.com/role'
export const ALLOWED = 'iam.amazonaws.com/allowed-roles'
const INJECTION = 'pod2iam.dev/injection'

export type Spec = Readonly<Record<string, unknown>>

export function labelsOf({ id }: Pick<Run, 'id'>, app?: string): Record<string, string> {
  return { [LABEL]: id, ...(app === undefined ? {} : { app }) }
}

/** @param options.security the level that Pod Security enforces there */
export function namespaceObject(
  run: Run,
  name: string,
  options: {
    readonly injection?: 'enabled' | 'all'
    readonly annotations?: Readonly<Record<string, string>>
    readonly security?: 'privileged' | 'restricted'
  } = {},
): KubeObject {
  const { injection, annotations = {}, security = 'privileged' } = options
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {
      name,
      labels: {
        ...labelsOf(run),
        'pod-security.kubernetes.io/enforce': security,
        ...(injection === undefined ? {} : { [INJECTION]: injection }),
      },
      annotations: { ...annotations },
    },
  }
}

/** A container that runs a mode of programs/pod.ts, without any permission, so that restricted namespaces admit it. */
export function container(run: Run, mode: string, name = 'app'): Spec {
  return {
    name,
    image: run.image,
    command: [run.node, '-e', `eval(process.env.${PROGRAM_VARIABLE})`, mode],
    // The kubelet turns `$$` into one `$`.
    env: [{ name: PROGRAM_VARIABLE, value: run.programs.pod.replaceAll('$', '$$$$') }],
    resources: { requests: { cpu: '5m', memory: '32Mi' }, limits: { memory: '128Mi' } },
    securityContext: {
      runAsUser: 65532,
      runAsGroup: 65532,
      runAsNonRoot: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    },
  }
}

export type Workload = {
  readonly app: string
  readonly place: Place
  readonly mode?: string
  readonly role?: string
  readonly annotations?: Readonly<Record<string, string>>
  /** Merged into the pod's spec. */
  readonly spec?: Spec
}

/** The nodes on which the chart runs no guard. */
export const WHERE_THE_GUARD_IS = {
  nodeSelector: { 'kubernetes.io/os': 'linux' },
  affinity: {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [
          {
            matchExpressions: [
              { key: 'eks.amazonaws.com/compute-type', operator: 'NotIn', values: ['fargate', 'hybrid'] },
            ],
          },
        ],
      },
    },
  },
} as const

/** A pod template: its app is named like the mode, and it is annotated when it has a role. */
function podTemplate(run: Run, { app, mode = 'idle', role, annotations, spec }: Workload) {
  return {
    metadata: {
      labels: labelsOf(run, app),
      annotations: { ...(role === undefined ? {} : { [ROLE]: role }), ...annotations },
    },
    spec: {
      terminationGracePeriodSeconds: 2,
      automountServiceAccountToken: false,
      ...WHERE_THE_GUARD_IS,
      containers: [container(run, mode)],
      ...spec,
    },
  }
}

export function podObject(run: Run, workload: Workload, name = workload.app): KubeObject {
  const { metadata, spec } = podTemplate(run, workload)
  const namespace = namespaceOf(run, workload.place)
  return { apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, name, namespace }, spec }
}

/** A Deployment, StatefulSet or DaemonSet. */
export function replicated(
  run: Run,
  kind: 'Deployment' | 'StatefulSet' | 'DaemonSet',
  workload: Workload,
  replicas = 1,
): KubeObject {
  const { app, place } = workload
  return {
    apiVersion: 'apps/v1',
    kind,
    metadata: { name: app, namespace: namespaceOf(run, place), labels: labelsOf(run, app) },
    spec: {
      ...(kind === 'DaemonSet' ? {} : { replicas }),
      ...(kind === 'StatefulSet' ? { serviceName: app } : {}),
      selector: { matchLabels: { app } },
      template: podTemplate(run, workload),
    },
  }
}

/** One pod without retries: a failure must not be hidden. */
export function jobSpec(run: Run, workload: Workload): Spec {
  const { metadata, spec } = podTemplate(run, workload)
  return { backoffLimit: 0, template: { metadata, spec: { restartPolicy: 'Never', ...spec } } }
}

export function jobObject(run: Run, workload: Workload): KubeObject {
  const { app, place } = workload
  const metadata = { name: app, namespace: namespaceOf(run, place), labels: labelsOf(run, app) }
  return { apiVersion: 'batch/v1', kind: 'Job', metadata, spec: jobSpec(run, workload) }
}
