/** The fleets that are simulated by default. */
import type { Fleet } from './fleet-size.ts'

export const DEFAULT_FLEET: Fleet = {
  nodes: 5000,
  podsPerNode: 30,
  namespaces: 50,
  stsPerSecond: 600,
  stsQps: 20,
  sessionSeconds: 3600,
  tokenSeconds: 86_400,
  seed: 1,
  share: 1,
}

/** The fleet of docs/scale.md, of which one node in twenty is simulated. */
export const PAGE_FLEET: Fleet = { ...DEFAULT_FLEET, share: 20 }

/** Its other fleet, of large nodes. */
export const LARGE_NODES: Fleet = { ...PAGE_FLEET, nodes: 1000, podsPerNode: 110 }
