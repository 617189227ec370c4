/** Pods, namespaces, settings and a JSON Patch applier for the injector's tests. */
import assert from 'node:assert/strict'
import { KEYS } from '../../common/keys.ts'
import { parseSettings } from '../../common/settings.ts'
import { type Decision, decide as decideOf } from '../../injector/admission/decide.ts'
import { decideFinal as decideFinalOf } from '../../injector/admission/decide-final.ts'
import { type InjectionSettings, injectionSettings } from '../../injector/injection-settings.ts'
import type { PatchOp } from '../../injector/json-patch.ts'
import type { ServiceAccount } from '../../injector/pod/account.ts'
import type { Namespace } from '../../injector/pod/namespace.ts'
import { SPEC } from '../../injector/settings.ts'

export type Dict = Record<string, unknown>

export const ROLE = 'arn:aws:iam::111111111111:role/shop-orders'
export const IMAGES = [
  '--sidecar-image=ghcr.io/pod2iam/sidecar:0.1.0',
  '--node-guard-image=ghcr.io/pod2iam/node-guard:0.1.0',
]

/** Defaults of a real command line, with overrides. */
export function settings(overrides: Partial<InjectionSettings> = {}): InjectionSettings {
  const parsed = parseSettings(SPEC, { argv: IMAGES, env: {} })
  assert.ok(parsed.ok)
  return { ...injectionSettings(parsed.settings), ...overrides }
}

/** An opted-in namespace that allows `shop-*`. */
export function namespace(overrides: Partial<Namespace> = {}): Namespace {
  return {
    name: 'shop',
    labels: { [KEYS.injection]: 'enabled' },
    annotations: { [KEYS.allowedRoles]: '["arn:aws:iam::111111111111:role/shop-*"]' },
    ...overrides,
  }
}

/** A look-up for tests in which no service account may be read. */
export const noAccounts = async (_: string, name: string): Promise<never> => {
  throw new Error(`nobody asked for service account ${name}`)
}

/** A pod that asks for {@link ROLE}; annotations with the value undefined are left out. */
export function pod(
  spec: Dict = {},
  annotations: Record<string, string | undefined> = {},
  labels: Dict = {},
): Dict {
  const all = Object.entries({ [KEYS.role]: ROLE, ...annotations })
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'orders',
      labels,
      annotations: Object.fromEntries(all.filter(([, value]) => value !== undefined)),
    },
    spec: { containers: [{ name: 'app', image: 'orders' }], ...spec },
  }
}

/** The decision about the creation of this pod, read as a whole. */
export function decide(
  object: unknown,
  where: Namespace,
  by: InjectionSettings,
  account?: ServiceAccount,
): Decision {
  return decideOf({ isRead: true, object }, where, by, account)
}

/** The final verdict about a pod, after all mutating webhooks. */
export function decideFinal(
  object: unknown,
  where: Namespace,
  by: InjectionSettings,
  account?: ServiceAccount,
): ReturnType<typeof decideFinalOf> {
  return decideFinalOf({ isRead: true, object }, where, by, account)
}

export function opsOf(decision: Decision): readonly PatchOp[] {
  assert.equal(decision.kind, 'patch', 'sentence' in decision ? decision.sentence : decision.reason)
  return decision.kind === 'patch' ? decision.ops : []
}

/** Applies a patch of add, replace and remove as RFC 6902 says: missing parents and indices out of range are errors. */
export function applyPatch<T>(document: T, ops: readonly PatchOp[]): T {
  const result = structuredClone(document)
  for (const { path, ...rest } of ops) {
    const tokens = path
      .split('/')
      .slice(1)
      .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'))
    const last = tokens.pop()
    assert.ok(last !== undefined, 'the whole document is never replaced')
    const parent = tokens.reduce<unknown>((at, token) => (at as Dict | undefined)?.[token], result)
    assert.ok(typeof parent === 'object' && parent !== null, `no parent for ${path}`)
    if (rest.op === 'remove') {
      assert.ok(Object.hasOwn(parent, last), `nothing to remove at ${path}`)
      if (Array.isArray(parent)) parent.splice(Number(last), 1)
      else delete (parent as Dict)[last]
      continue
    }
    const { op, value } = rest
    if (Array.isArray(parent)) {
      const index = last === '-' ? parent.length : Number(last)
      assert.ok(Number.isInteger(index) && index >= 0 && index <= parent.length, `index of ${path}`)
      assert.equal(op, 'add', `an element of an array is replaced: ${path}`)
      parent.splice(index, 0, structuredClone(value))
    } else {
      if (op === 'replace') assert.ok(Object.hasOwn(parent, last), `nothing to replace at ${path}`)
      ;(parent as Dict)[last] = structuredClone(value)
    }
  }
  return result
}

/** Fills in the defaults that the API server sets between two webhook calls, as far as they touch our containers and volumes. */
export function withApiServerDefaults<T>(document: T): T {
  const result = structuredClone(document) as Dict
  const spec = result.spec as { containers: Dict[]; initContainers?: Dict[]; volumes?: Dict[] } & Dict
  spec.restartPolicy ??= 'Always'
  for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) {
    container.terminationMessagePath ??= '/dev/termination-log'
    container.terminationMessagePolicy ??= 'File'
    container.imagePullPolicy ??= 'IfNotPresent'
    container.resources ??= {}
    const mounts = (container.volumeMounts as Dict[] | undefined) ?? []
    container.volumeMounts = mounts
    // The ServiceAccount admission plugin runs again after a webhook, for the containers that the webhook added.
    const path = '/var/run/secrets/kubernetes.io/serviceaccount'
    if (spec.automountServiceAccountToken !== false && !mounts.some(({ mountPath }) => mountPath === path))
      mounts.push({ name: 'kube-api-access-x7k2p', mountPath: path, readOnly: true })
  }
  for (const { projected } of (spec.volumes ?? []) as { projected?: Dict }[])
    if (projected) projected.defaultMode ??= 0o644
  return result as T
}

/** An admission review of the creation of a pod in namespace `shop`. */
export function reviewOf(object: unknown): Dict {
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: 'b9f1',
      kind: { group: '', version: 'v1', kind: 'Pod' },
      resource: { group: '', version: 'v1', resource: 'pods' },
      namespace: 'shop',
      operation: 'CREATE',
      object,
    },
  }
}
