/** The recorded pods as each release admits them. */
import { parseSettings } from '../../common/settings.ts'
import { injectionSettings } from '../../injector/injection-settings.ts'
import { SPEC } from '../../injector/settings.ts'
import { applyPatch, decide } from '../injector/fixtures.ts'
import type { Admission } from '../previous-release/admissions.ts'
import { recordedPods } from '../previous-release/recorded.ts'
import type { Side } from './releases.ts'

export type EnvVar = { readonly name: string; readonly value?: string }
export type Container = {
  readonly name: string
  readonly args?: readonly string[]
  readonly env?: readonly EnvVar[]
}
export type AdmittedPod = {
  readonly metadata: { readonly annotations?: Readonly<Record<string, string>> }
  readonly spec: { readonly initContainers: readonly Container[] } & Readonly<Record<string, unknown>>
}
export type Admitted = Omit<Admission, 'admitted'> & { readonly admitted: AdmittedPod }

const recorded = recordedPods() as readonly Admitted[]

/**
 * All recorded pods as this release or the previous one admits them.
 *
 * @param more settings of this release's injector, besides those of the case
 */
export function admittedBy(side: Side, more: readonly string[] = []): readonly Admitted[] {
  return side === 'previous' ? recorded : recorded.map((one) => byThisRelease(one, more))
}

/** One recorded pod by its name. */
export function admitted(side: Side, name: string): AdmittedPod {
  const found = admittedBy(side).find((one) => one.name === name)
  if (found === undefined) throw new Error(`no pod is recorded as ${JSON.stringify(name)}`)
  return found.admitted
}

/** One recorded pod by its name, as this release admits it with additional settings and annotations. */
export function admittedWith(
  name: string,
  more: readonly string[],
  annotations: Readonly<Record<string, string>> = {},
): Admitted {
  const found = recorded.find((one) => one.name === name)
  if (found === undefined) throw new Error(`no pod is recorded as ${JSON.stringify(name)}`)
  const { metadata } = found.pod as { readonly metadata: { readonly annotations?: object } }
  const pod = {
    ...found.pod,
    metadata: { ...metadata, annotations: { ...metadata.annotations, ...annotations } },
  }
  return byThisRelease({ ...found, pod }, more)
}

function byThisRelease(one: Admitted, more: readonly string[]): Admitted {
  const parsed = parseSettings(SPEC, { argv: [...one.settings, ...more], env: {} })
  if (!parsed.ok) throw new Error(`${one.name}: ${parsed.errors.join(' ')}`)
  const decision = decide(one.pod, one.namespace, injectionSettings(parsed.settings))
  if (decision.kind !== 'patch') throw new Error(`${one.name}: ${decision.reason}`)
  return { ...one, admitted: applyPatch(one.pod, decision.ops) as unknown as AdmittedPod }
}

/** An init container of ours by its name. */
export function containerOf({ spec }: AdmittedPod, name: string): Container {
  const found = spec.initContainers.find((one) => one.name === name)
  if (found === undefined) throw new Error(`the pod has no ${name}`)
  return found
}
