import type { JsonObject } from '../product/injector.ts'

/**
 * An object of the client's typed models as the API server sent it: times are texts again. The models of pods, namespaces and
 * Events rename no member.
 */
export function plain(object: unknown): JsonObject {
  return JSON.parse(JSON.stringify(object))
}
