import { Gauge, type Registry } from 'prom-client'
import { BUILD_INFO, buildLabels, type Component } from './build-info.ts'

/** Shows the version in `registry`; for the processes that have prom-client. */
export function registerBuildInfo(registry: Registry, component: Component): void {
  const labels = buildLabels(component)
  new Gauge({ ...BUILD_INFO, labelNames: Object.keys(labels), registers: [registry] }).set(labels, 1)
}
