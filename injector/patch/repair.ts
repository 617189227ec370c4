/**
 * Repairs a container of ours that the pod already has, no matter what an earlier release, a replica with other settings, a copied
 * manifest or another webhook left in it. Harmless additions of other tools stay, so that their webhooks find their work done when
 * they are reinvoked; all other additions are removed, with a warning.
 */
import { isOwnVariable } from '../form/environment.ts'
import { isPresent } from '../form/image-reference.ts'
import {
  hasOwnMessagePath,
  isHarmlessMount,
  isHarmlessVariable,
  isOwnMount,
  MESSAGE_PATH,
  trustOf,
} from '../form/own-container.ts'
import { isStricter } from '../form/security-context.ts'
import type { InjectionSettings } from '../injection-settings.ts'
import { blank, contains, isObject, type Json, type JsonObject, objectOf, sameJson } from '../json.ts'
import { add, type PatchOp, pointer, remove, replace } from '../json-patch.ts'
import type { Container, EnvVar } from '../pod/pod.ts'
import type { Kind } from '../pod/reserved.ts'

/**
 * The container as it should be, and which additions of other tools were removed.
 *
 * @param actual a container without foreign content (`foreignPart`)
 */
export function repaired(kind: Kind, actual: Container, wanted: Container, settings: InjectionSettings) {
  const env = environment(actual.env ?? [], wanted.env ?? [])
  const mounts = mountsOf(kind, actual.volumeMounts ?? [], wanted.volumeMounts ?? [])
  const context = contextOf(actual.securityContext, wanted.securityContext)
  const corrections: JsonObject = {
    image: isPresent(trustOf(kind, settings), actual.image) ? actual.image : wanted.image,
    args: wanted.args,
    restartPolicy: wanted.restartPolicy,
    // Ours or blank: a start hook that the pod does not need is removed without a warning.
    lifecycle: wanted.lifecycle,
    env: env.kept,
    // Others may change resources (VPA, LimitRanger), but not remove them.
    resources: isObject(actual.resources) ? undefined : wanted.resources,
    securityContext: context.kept,
    volumeMounts: mounts.kept,
    terminationMessagePath: hasOwnMessagePath(actual) ? undefined : MESSAGE_PATH,
  }
  const known = Object.entries(corrections).filter(([, value]) => value !== undefined)
  const { lifecycle, ...others } = actual
  const kept = wanted.lifecycle === undefined && !blank(lifecycle) ? others : actual
  const container: Container = { ...kept, ...Object.fromEntries(known) } as Container
  return { container, removed: [...env.removed, ...mounts.removed, ...context.removed] }
}

/** The patch that changes one container into another, member by member; lists that only grew get `add` operations. */
export function containerOps(at: string, actual: Container, wanted: Container): PatchOp[] {
  const gone = Object.keys(actual).filter((key) => !Object.hasOwn(wanted, key))
  const others = Object.entries(wanted).flatMap(([key, value]) => {
    const [path, now] = [at + pointer(key), actual[key]]
    if (value === undefined || sameJson(now, value)) return []
    if (key === 'securityContext' && isObject(now) && isObject(value)) return objectOps(path, now, value)
    return listOps(path, now, value)
  })
  return [...gone.map((key) => remove(at + pointer(key))), ...others]
}

function objectOps(at: string, now: JsonObject, wanted: JsonObject): PatchOp[] {
  const gone = Object.keys(now).filter((key) => !(key in wanted))
  return [
    ...gone.map((key) => remove(at + pointer(key))),
    ...Object.entries(wanted).flatMap(([key, value]) => {
      const [path, old] = [at + pointer(key), now[key]]
      return value === undefined || sameJson(old, value) ? [] : [set(path, old, value)]
    }),
  ]
}

function listOps(path: string, now: Json | undefined, wanted: Json): PatchOp[] {
  const grew =
    Array.isArray(now) &&
    Array.isArray(wanted) &&
    wanted.length > now.length &&
    now.every((entry, index) => sameJson(entry, wanted[index]))
  if (!grew) return [set(path, now, wanted)]
  return wanted.slice(now.length).map((entry) => add(`${path}/-`, entry))
}

function set(path: string, now: Json | undefined, value: Json): PatchOp {
  return now === undefined || now === null ? add(path, value) : replace(path, value)
}

/** Keeps the order of the variables; each of ours is there once, with the wanted value. */
function environment(actual: readonly EnvVar[], wanted: readonly EnvVar[]) {
  const seen = new Set<string>()
  const kept: EnvVar[] = []
  const removed: string[] = []
  for (const entry of actual) {
    if (!isOwnVariable(entry)) {
      if (isHarmlessVariable(entry)) kept.push(entry)
      else removed.push(`env ${entry.name}`)
      continue
    }
    const ours = wanted.find(({ name }) => name === entry.name)
    if (ours !== undefined && !seen.has(entry.name)) kept.push(sameJson(entry, ours) ? entry : ours)
    seen.add(entry.name)
  }
  return { kept: [...kept, ...wanted.filter(({ name }) => !seen.has(name))], removed }
}

function mountsOf(kind: Kind, actual: readonly JsonObject[], wanted: readonly JsonObject[]) {
  const isWanted = ({ name }: JsonObject) => wanted.some((one) => one.name === name)
  const stays = (mount: JsonObject) => (isOwnMount(kind, mount) && isWanted(mount)) || isHarmlessMount(mount)
  const kept = actual.filter(stays)
  const missing = wanted.filter((mount) => !kept.some((other) => contains(other, mount)))
  // Ours that the pod does not need, as of a manifest copied from another namespace, goes without a warning.
  const removed = actual
    .filter((mount) => !stays(mount) && !isOwnMount(kind, mount))
    .map((mount) => `mount ${String(mount.mountPath)}`)
  return { kept: [...kept, ...missing], removed }
}

/** Our fields, and those of others that remove still more rights. */
function contextOf(actual: Json | undefined, wanted: Json | undefined) {
  const [theirs, ours] = [objectOf(actual), objectOf(wanted)]
  const others = Object.entries(theirs).filter(([key]) => !(key in ours))
  const kept = others.filter(([key, value]) => isStricter(key, value))
  const removed = others.filter(([key, value]) => !isStricter(key, value) && !blank(value))
  return {
    kept: { ...Object.fromEntries(kept), ...ours },
    removed: removed.map(([key]) => `securityContext.${key}`),
  }
}
