/** Clients that create pods all the time, and count what became of each pod. */
import { KEYS } from '../../common/keys.ts'
import type { KubeClient, KubeObject } from '../sandbox/kube/client/client.ts'
import { until } from '../support/until.ts'
import { type Dict, ROLE } from './fixtures.ts'

/** A pod and the expected outcome of its admission, whichever replica judges it. */
export type Candidate = {
  readonly what: string
  readonly pod: Dict
  readonly expected: Expected
}
type Expected =
  | 'injected'
  | 'refused'
  | 'refused or left alone'
  | 'refused or injected'
  | 'injected or left alone'

export type Taken = { readonly asked: number; readonly wrong: Readonly<Record<string, number>> }

export type Admissions = {
  /** Counts since the last call. */
  readonly taken: () => Taken
  /** Waits until each client has received this many more answers. */
  readonly more: (each: number) => Promise<void>
  /** Replaces the candidates that are created from now on. */
  readonly offer: (candidates: readonly Candidate[]) => void
  readonly end: () => Promise<void>
}

const CLIENTS = 3
export const SHOP = 'shop'

type Kube = Pick<KubeClient, 'create'>

/** Creates the candidates in turn, as dry runs; every candidate that asks for a role asks for this one. */
export function admissions(kube: Kube, first: readonly Candidate[], role = ROLE): Admissions {
  let candidates = first
  let asked = 0
  let wrong: Record<string, number> = {}
  let ended = false
  const rounds = Array.from({ length: CLIENTS }, () => 0)
  const client = async (index: number) => {
    for (let turn = index; !ended; turn++) {
      const { what, pod, expected } = candidates[turn % candidates.length] as Candidate
      const became = await outcome(kube, pod, role)
      asked++
      rounds[index] = (rounds[index] ?? 0) + 1
      if (!expected.includes(became.split(':')[0] ?? ''))
        wrong[`${what}: ${became}`] = (wrong[`${what}: ${became}`] ?? 0) + 1
    }
  }
  const clients = rounds.map((_, index) => client(index))
  return {
    taken() {
      const taken = { asked, wrong }
      asked = 0
      wrong = {}
      return taken
    },
    async more(each) {
      const goals = rounds.map((done) => done + each)
      await until(() => rounds.every((done, index) => done >= (goals[index] ?? 0)), { deadlineMs: 120_000 })
    },
    offer(next) {
      candidates = next
    },
    async end() {
      ended = true
      await Promise.all(clients)
    },
  }
}

/** What {@link candidates} and {@link tampered} try to smuggle in. */
const FOREIGN = /evil|NODE_OPTIONS|10\.0\.0\.1|status"/

type Init = { name: string; env?: Dict[]; lifecycle?: unknown }
type Created = KubeObject & { spec?: { initContainers?: Init[]; serviceAccountName?: string } }
/** A service account that names the role of its pods. */
export const ACCOUNT = 'orders'

const hasHook = (sidecar: Init | undefined) =>
  JSON.stringify(sidecar?.lifecycle) === '{"postStart":{"exec":{"command":["/pod2iam/wait-started"]}}}'

async function outcome(kube: Kube, pod: Dict, role: string): Promise<string> {
  let created: Created
  try {
    created = await kube.create(pod as unknown as KubeObject, { dryRun: true })
  } catch (error) {
    return `refused: ${String(error).slice(0, 400)}`
  }
  const initContainers = created.spec?.initContainers ?? []
  if (initContainers.length === 0) return 'left alone'
  const names = initContainers.map(({ name }) => name).join()
  const isWhole =
    names === 'pod2iam-sidecar,pod2iam-gate' || (names === 'pod2iam-sidecar' && hasHook(initContainers[0]))
  if (!isWhole) return `with containers ${names}`
  const foreign = initContainers.find((one) => FOREIGN.test(JSON.stringify(one)))
  if (foreign !== undefined) return `with foreign content in ${foreign.name}`
  const given = initContainers[0]?.env?.find(({ name }) => name === 'POD2IAM_ROLE')?.value
  const annotated = Object.values(created.metadata.annotations ?? {}).find((value) => value === role)
  const asked = annotated ?? (created.spec?.serviceAccountName === ACCOUNT ? role : undefined)
  return given === asked ? 'injected' : `with another role`
}

/** A pod with these annotations. */
export function candidate(
  what: string,
  annotations: Readonly<Record<string, string>>,
  spec: Dict = {},
  expected: Expected = 'injected',
  namespace = SHOP,
): Candidate {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { generateName: 'orders-', namespace, annotations },
    spec: { containers: [{ name: 'app', image: 'orders' }], ...spec },
  }
  return { what, pod, expected }
}

export const FORGED = {
  name: 'pod2iam-sidecar',
  image: 'evil.example.com/pod2iam/sidecar:dev',
  restartPolicy: 'Always',
}

/** The namespace of the candidates, and the annotations of those that ask for a role. */
export type Asking = { readonly namespace: string; readonly annotations: Readonly<Record<string, string>> }
const ASKING: Asking = { namespace: SHOP, annotations: { [KEYS.role]: ROLE } }

/** Pods as users create them, and two that forge a sidecar. */
export function candidates({ namespace, annotations }: Asking): Candidate[] {
  const detailed = {
    ...annotations,
    [KEYS.imdsTokens]: 'required',
    [KEYS.logLevel]: 'debug',
    [KEYS.startupGate]: 'on',
    [KEYS.redirect]: 'env',
    [KEYS.sidecarResources]: '{"requests":{"cpu":"20m"}}',
  }
  const here = (what: string, asks: Asking['annotations'], spec?: Dict, expected?: Expected) =>
    candidate(what, asks, spec, expected, namespace)
  const forged = { initContainers: [FORGED] }
  return [
    here('a pod with a role', annotations),
    here('a pod with everything annotated', detailed),
    here('a pod that wants metadata', { [KEYS.inject]: 'metadata' }, { restartPolicy: 'Never' }),
    here('a pod with a forged sidecar', annotations, forged, 'refused'),
    here('a pod with a forged sidecar that asks for nothing', {}, forged, 'refused'),
  ]
}

export const CANDIDATES: readonly Candidate[] = candidates(ASKING)

/** Pods as the injector wrote them, copied with one change: each is refused or corrected. */
export async function tampered(kube: Kube, asking = ASKING): Promise<Candidate[]> {
  const { namespace, annotations } = asking
  const { pod } = candidate('', annotations, {}, 'injected', namespace)
  const { spec } = (await kube.create(pod as unknown as KubeObject, { dryRun: true })) as Created
  const changed = (what: string, change: (sidecar: Dict, gate: Dict) => void) => {
    const initContainers = structuredClone(spec?.initContainers ?? []) as Dict[]
    const [sidecar = {}, gate = {}] = initContainers
    change(sidecar, gate)
    const changedSpec = { ...(spec as Dict), initContainers }
    return candidate(`a pod with ${what}`, annotations, changedSpec, 'refused or injected', namespace)
  }
  const setEnv = (container: Dict, name: string, value: string) => {
    const others = (container.env as Dict[]).filter((entry) => entry.name !== name)
    container.env = [...others, { name, value }]
  }
  return [
    changed('a sidecar of another role', (sidecar) =>
      setEnv(sidecar, 'POD2IAM_ROLE', 'arn:aws:iam::111111111111:role/admin'),
    ),
    changed('a sidecar of another broker', (sidecar) =>
      setEnv(sidecar, 'POD2IAM_BROKER_URL', 'http://10.0.0.1'),
    ),
    changed('a sidecar that preloads', (sidecar) => setEnv(sidecar, 'NODE_OPTIONS', '--require=/x')),
    changed('a sidecar with a hook of its own', (sidecar) => {
      sidecar.lifecycle = { postStart: { exec: { command: ['/bin/evil'] } } }
    }),
    changed('a sidecar with the hook of a pod without a gate', (sidecar) => {
      sidecar.lifecycle = { postStart: { exec: { command: ['/pod2iam/wait-started'] } } }
      setEnv(sidecar, 'POD2IAM_PROOF', 'report')
    }),
    changed('a gate of another registry', (_, gate) => {
      gate.image = `evil.example.com/${gate.image}`
    }),
    changed('a gate that proves nothing', (_, gate) => {
      gate.args = ['status']
    }),
  ]
}

/** The namespace of the pods; its roles are allowed. */
export const SHOP_NAMESPACE = {
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: {
    name: SHOP,
    labels: { [KEYS.injection]: 'enabled' },
    annotations: { [KEYS.allowedRoles]: JSON.stringify([ROLE]) },
  },
}
