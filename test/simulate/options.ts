/** The fleet that is simulated where nothing else is said. */
import type { Fleet } from './fleet.ts'

export const DEFAULT_FLEET: Fleet = {
  nodes: 5000,
  podsPerNode: 30,
  namespaces: 50,
  stsPerSecond: 600,
  stsQps: 20,
  sessionSeconds: 3600,
  tokenSeconds: 86_400,
  seed: 1,
}

/** The fleet of docs/scale.md: a tenth, under a tenth of the quota. */
export const PAGE_FLEET: Fleet = { ...DEFAULT_FLEET, nodes: 500, stsPerSecond: 60 }
