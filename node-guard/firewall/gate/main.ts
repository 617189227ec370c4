import { setTimeout as sleep } from 'node:timers/promises'
import { dial, routeTo } from '../../../common/block/dial.ts'
import { createProof } from '../../../common/block/proof.ts'
import { systemClock } from '../../../common/clock.ts'
import { lineLogger } from '../../../common/log.ts'
import { settingsOrExit } from '../../../common/settings.ts'
import { VERSION } from '../../../common/version.ts'
import { exec } from '../process/exec.ts'
import { createPodRules } from './pod-rules.ts'
import { askReadiness } from './readiness.ts'
import { addMissingRoutes } from './route.ts'
import { GATE_SETTINGS } from './settings.ts'
import { type GateOptions, runSteps } from './steps.ts'

/**
 * 128 + SIGTERM, not 0 as in our other programs: after an init container that ends with 0 the next one starts, and a
 * gate that was stopped has not loaded the redirect.
 */
const TERMINATED = 143
/** The sidecar answers from memory. On an overloaded node an answer may take longer; then it is asked again. */
const READY_TIMEOUT_MS = 500

/** `firewall redirect`, the pod's gate: exit code 0 lets the pod's further containers start. */
export async function runGate(argv: readonly string[]): Promise<void> {
  // As PID 1 of its container the process gets no default action for signals.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => process.exit(TERMINATED))
  const settings = settingsOrExit('pod2iam firewall redirect', GATE_SETTINGS, argv)
  const { metadataAddress: metadata, brokerAddress: broker, brokerPort, sidecarPort, waitReady } = settings
  const log = lineLogger('gate', settings.logLevel)
  log.info('gate starts', { version: VERSION, redirect: settings.redirect, proof: settings.proof })

  const rules = createPodRules(exec, { metadata, broker, brokerPort, sidecarPort }, log)
  const options: GateOptions = {
    prove: createProof({
      metadata,
      acceptDrop: settings.acceptDrop,
      prepare: async () => (settings.redirect === 'nft' ? rules.load('proof') : undefined),
      routeTo,
      dial: (address) => dial(address, 80, settings.proofInterval),
    }),
    loadRedirect: async () => {
      const failed = await rules.load('redirect')
      if (failed !== undefined) return failed
      for (const detail of await addMissingRoutes(exec, routeTo, metadata))
        log.warn('route missing', { detail })
      return undefined
    },
    askReadiness: async () =>
      waitReady === undefined ? { ready: true, code: 'ready' } : askReadiness(waitReady, READY_TIMEOUT_MS),
    now: systemClock.monotonic,
    sleep: (milliseconds) => sleep(milliseconds),
    log,
  }
  const outcome = await runSteps(settings, options)
  if (outcome.ok) process.exit(0)
  // The last line is what `kubectl describe pod` shows (FallbackToLogsOnError): a plain sentence, no JSON.
  process.stderr.write(`pod2iam-gate: ${outcome.detail}.\n`)
  process.exit(1)
}
