/** A pod in an admission review: a view of the raw JSON whose shape has been checked, not a copy. */
import { type Failed, failed } from '../../common/result.ts'
import { isObject, type Json, type JsonObject } from '../json.ts'

export type EnvVar = {
  readonly name: string
  readonly value?: string
  readonly [key: string]: Json | undefined
}

export type Container = {
  readonly name: string
  readonly image?: string
  readonly args?: readonly string[]
  readonly env?: readonly EnvVar[]
  readonly ports?: readonly JsonObject[]
  readonly volumeMounts?: readonly JsonObject[]
  readonly [key: string]: Json | undefined
}

export type Pod = {
  readonly metadata?: {
    readonly name?: string
    readonly generateName?: string
    readonly labels?: Readonly<Record<string, string>>
    readonly annotations?: Readonly<Record<string, string>>
  }
  readonly spec: {
    readonly containers: readonly Container[]
    readonly initContainers?: readonly Container[]
    readonly ephemeralContainers?: readonly Container[]
    readonly volumes?: readonly (JsonObject & { readonly name: string })[]
    readonly nodeSelector?: Readonly<Record<string, string>>
    readonly [key: string]: Json | undefined
  }
}

/**
 * The pod in `raw`, or the first part of it that no API server would send. Everything that the injector reads is checked here,
 * once; `null` counts as absent, as in the API.
 */
export function readPod(raw: unknown): { readonly ok: true; readonly pod: Pod } | Failed {
  const problem = podProblem(raw)
  return problem === undefined ? { ok: true, pod: raw as Pod } : failed(problem)
}

/**
 * The head of a pod whose spec was too large to be parsed: its name and the annotations that decide whether it concerns us, and no
 * containers.
 */
export function readPodHead(raw: unknown): ReturnType<typeof readPod> {
  const metadata = isObject(raw) ? raw.metadata : undefined
  const problem = isObject(raw) ? metadataProblem(metadata) : 'is not an object'
  if (problem !== undefined) return failed(problem)
  return { ok: true, pod: { metadata: (metadata ?? {}) as Pod['metadata'] & {}, spec: { containers: [] } } }
}

function podProblem(raw: unknown): string | undefined {
  if (!isObject(raw)) return 'is not an object'
  return metadataProblem(raw.metadata) ?? specProblem(raw.spec)
}

function metadataProblem(metadata: Json | undefined): string | undefined {
  if (absent(metadata)) return undefined
  if (!isObject(metadata)) return 'has metadata that is not an object'
  if (!optionalText(metadata.name) || !optionalText(metadata.generateName))
    return 'has a name that is not text'
  const field = ['labels', 'annotations'].find((key) => !optionalTexts(metadata[key]))
  return field === undefined ? undefined : `has ${field} that are not a map of texts`
}

function specProblem(spec: Json | undefined): string | undefined {
  if (!isObject(spec)) return 'has no spec'
  const { nodeSelector, containers, initContainers, ephemeralContainers, volumes } = spec
  if (!optionalTexts(nodeSelector)) return 'has a nodeSelector that is not a map of texts'
  if (!namedObjects(containers) || containers.length === 0) return 'has no list of containers'
  if (!absent(initContainers) && !namedObjects(initContainers))
    return 'has initContainers that are not a list'
  if (!absent(ephemeralContainers) && !namedObjects(ephemeralContainers))
    return 'has ephemeralContainers that are not a list'
  if (!absent(volumes) && !namedObjects(volumes)) return 'has volumes that are not a list'
  const all = [...containers, ...(absent(initContainers) ? [] : initContainers)]
  return all.map(containerProblem).find((problem) => problem !== undefined)
}

function containerProblem(container: JsonObject): string | undefined {
  const { env, ports, volumeMounts, image, args } = container
  if (!optionalText(image)) return 'has a container whose image is not text'
  if (!absent(args) && !(Array.isArray(args) && args.every((arg) => typeof arg === 'string')))
    return 'has a container whose args are not a list of texts'
  if (!absent(env) && !(namedObjects(env) && env.every((entry) => optionalText(entry.value))))
    return 'has a container whose env is not a list of names and values'
  for (const list of [ports, volumeMounts])
    if (!absent(list) && !(Array.isArray(list) && list.every(isObject)))
      return 'has a container whose ports or volumeMounts are not a list'
  return undefined
}

const absent = (value: Json | undefined): value is null | undefined => value === undefined || value === null
const optionalText = (value: Json | undefined) => absent(value) || typeof value === 'string'
const optionalTexts = (value: Json | undefined) =>
  absent(value) || (isObject(value) && Object.values(value).every((entry) => typeof entry === 'string'))
const namedObjects = (value: Json | undefined): value is readonly JsonObject[] =>
  Array.isArray(value) && value.every((entry) => isObject(entry) && typeof entry.name === 'string')
