import { type InjectionMode, injectionMode } from '../../common/keys.ts'
import type { Sink } from '../../common/kube/reflector.ts'
import { metadataOf, objectOf } from '../json.ts'

type OptedIn = { readonly name: string; readonly mode: InjectionMode | undefined }

type OptedInNamespaces = {
  readonly sink: Sink<OptedIn>
  readonly mode: (name: string) => InjectionMode | undefined
  readonly names: () => string[]
  /** Sets what is called when one came or went. */
  readonly onChange: (listener: () => void) => void
}

/** Which namespaces are opted in, and how. */
export function optedInNamespaces(): OptedInNamespaces {
  const modes = new Map<string, InjectionMode>()
  let onChange = () => {}
  const put = ({ name, mode }: OptedIn) => {
    if (mode === undefined) modes.delete(name)
    else modes.set(name, mode)
  }
  return {
    mode: (name) => modes.get(name),
    names: () => [...modes.keys()],
    onChange(listener) {
      onChange = listener
    },
    sink: {
      project(object) {
        const { name, labels } = metadataOf(object)
        if (typeof name !== 'string') return undefined
        return { name, mode: injectionMode(objectOf(labels) as Record<string, string>) }
      },
      replace(all) {
        modes.clear()
        for (const one of all) put(one)
        onChange()
      },
      upsert(one) {
        const before = modes.get(one.name)
        put(one)
        if ((before === undefined) !== (one.mode === undefined)) onChange()
      },
      remove({ name }) {
        if (modes.delete(name)) onChange()
      },
    },
  }
}
