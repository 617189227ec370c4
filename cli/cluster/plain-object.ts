import type { JsonObject } from '../product/injector.ts'

/**
 * Converts an object of the client's typed models to the form that the API server sent: dates become strings. The models of pods, namespaces and
 * Events rename no field.
 */
export function plainObject(object: unknown): JsonObject {
  return JSON.parse(JSON.stringify(object))
}
