/** A container's environment, exactly as the kubelet composes it. */
import { ContainerConfigError } from './errors.ts'
import { fieldValue, type PodAddressing } from './field-ref.ts'
import type { Container, KeyRef, Pod } from './pod.ts'

/** Reads a ConfigMap or Secret of the pod's namespace; undefined when it does not exist. The data of a Secret are decoded. */
export type ReadData = (
  kind: 'configmaps' | 'secrets',
  name: string,
) => Promise<Readonly<Record<string, string>> | undefined>

/**
 * @param base the first variables: those of the image and of the service
 * @returns the variables, with `$(NAME)` references expanded
 * @throws ContainerConfigError for a missing reference, or one that the stand-in does not support
 */
export async function containerEnvironment(
  pod: Pod,
  container: Container,
  base: Readonly<Record<string, string>>,
  addressing: PodAddressing,
  read: ReadData,
): Promise<Record<string, string>> {
  const env: Record<string, string> = { ...base, ...(await fromSources(container, read)) }
  for (const { name, value, valueFrom } of container.env ?? []) {
    if (valueFrom === undefined) env[name] = expand(value ?? '', env)
    else if (valueFrom.fieldRef !== undefined)
      env[name] = fieldValue(pod, valueFrom.fieldRef.fieldPath, addressing)
    else if (valueFrom.configMapKeyRef !== undefined)
      assign(env, name, await keyOf('configmaps', valueFrom.configMapKeyRef, read))
    else if (valueFrom.secretKeyRef !== undefined)
      assign(env, name, await keyOf('secrets', valueFrom.secretKeyRef, read))
    else
      throw new ContainerConfigError(`env ${name}: the sandbox knows fieldRef and key references, no others`)
  }
  return env
}

/** `$(NAME)` becomes the variable's value, `$$` one dollar; an unknown name stays as it is written. */
export function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$(?:\$|\(([^)]*)\))/g, (whole, name?: string) =>
    name === undefined ? '$' : (env[name] ?? whole),
  )
}

async function fromSources(container: Container, read: ReadData): Promise<Record<string, string>> {
  const env: Record<string, string> = {}
  for (const { prefix = '', configMapRef, secretRef } of container.envFrom ?? []) {
    const reference = configMapRef ?? secretRef
    if (reference === undefined) continue
    const kind = configMapRef === undefined ? 'secrets' : 'configmaps'
    const data = await read(kind, reference.name)
    if (data === undefined && reference.optional !== true) throw missing(kind, reference.name)
    for (const [key, value] of Object.entries(data ?? {})) env[prefix + key] = value
  }
  return env
}

async function keyOf(kind: 'configmaps' | 'secrets', { name, key, optional }: KeyRef, read: ReadData) {
  const data = await read(kind, name)
  const value = data?.[key]
  if (value !== undefined || optional === true) return value
  if (data === undefined) throw missing(kind, name)
  throw new ContainerConfigError(`couldn't find key ${key} in ${kind} ${name}`)
}

function missing(kind: string, name: string): ContainerConfigError {
  return new ContainerConfigError(`${kind} "${name}" not found`)
}

function assign(env: Record<string, string>, name: string, value: string | undefined): void {
  if (value !== undefined) env[name] = value
}
