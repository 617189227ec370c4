import { type InjectionMode, injectionMode } from '../../common/keys.ts'
import type { Sink } from '../../common/kube/reflector.ts'
import { metadataOf, objectOf } from '../json.ts'

type OptedIn = { readonly name: string; readonly mode: InjectionMode | undefined }

/** Which namespaces are opted in, and how. */
export function optedInNamespaces() {
  const modes = new Map<string, InjectionMode>()
  let onChange = () => {}
  const put = ({ name, mode }: OptedIn) => {
    if (mode === undefined) modes.delete(name)
    else modes.set(name, mode)
  }
  const sink: Sink<OptedIn> = {
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
  }
  return {
    mode: (name: string) => modes.get(name),
    names: () => [...modes.keys()],
    /** Sets the function that is called when a namespace opted in or out. */
    onChange(listener: () => void) {
      onChange = listener
    },
    sink,
  }
}
