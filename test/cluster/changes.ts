/** Values of the chart that change what is injected: one for each of test/injector/injected-settings.ts, and the role key. */
import { OTHER_KEY } from '../injector/injected-settings.ts'
import type { ChartValues } from './context.ts'
import type { Options } from './options.ts'

export type Change = {
  readonly values: ChartValues
  /** The node is open meanwhile, so what pods reach then means nothing. */
  readonly opens?: boolean
  /** The role annotation has another key, and pods have both keys. */
  readonly otherKey?: boolean
  /** Why the change cannot be made here. */
  readonly leftOut?: string
}

type Others = Partial<Pick<Options, 'otherRegistry' | 'otherTag'>>

/** Keyed by the names of `injected-settings.ts`. */
export function changesOf({
  otherRegistry: registry,
  otherTag: tag,
}: Others): Readonly<Record<string, Change>> {
  return {
    imdsTokens: { values: { sidecar: { imdsTokens: 'required' } } },
    logLevel: { values: { sidecar: { logLevel: 'debug' } } },
    acceptDrop: { values: { gate: { acceptDrop: true } } },
    startupGate: { values: { sidecar: { startupGate: 'off' } } },
    redirect: { values: { sidecar: { redirect: 'env' } } },
    containerCredentials: { values: { sidecar: { redirect: 'env', containerCredentials: 'on' } } },
    start: { values: { sidecar: { start: 'two-stage' } } },
    'redirect and start': { values: { sidecar: { redirect: 'env', start: 'two-stage' } } },
    // Node guards pull the sidecar's image, too: an image that does not exist holds up their rollout.
    'the registry':
      registry === undefined
        ? { values: {}, leftOut: '--other-registry names no second registry of the images' }
        : { values: { image: { registry } } },
    'a tag':
      tag === undefined
        ? { values: {}, leftOut: '--other-tag names no second tag of the images' }
        : { values: { image: { sidecar: { tag }, nodeGuard: { tag } } } },
    pullPolicy: { values: { image: { pullPolicy: 'Always' } } },
    resources: { values: { sidecar: { resources: { requests: { cpu: '25m' } } } } },
    tokenExpirationSeconds: { values: { sidecar: { tokenExpirationSeconds: 7200 } } },
    'audit and enforce': { values: { guard: { mode: 'audit' } }, opens: true },
    hostNetworkAnnotated: { values: { injector: { hostNetworkAnnotated: 'warn' } } },
    roleKey: { values: { policy: { roleKey: OTHER_KEY } }, otherKey: true },
  }
}
