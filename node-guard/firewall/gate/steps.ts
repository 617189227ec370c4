import { type Proof, whyUnproven } from '../../../common/block/proof.ts'
import type { Readiness } from '../../../common/health.ts'
import type { Logger } from '../../../common/log.ts'
import { type Failed, failed } from '../../../common/result.ts'
import type { GateSettings } from './settings.ts'

/** What the gate's steps are given; every function resolves, with a sentence if it failed. */
export type GateOptions = {
  readonly prove: () => Promise<Proof>
  readonly loadRedirect: () => Promise<string | undefined>
  readonly askReadiness: () => Promise<Readiness>
  /** Milliseconds, monotonic. */
  readonly now: () => number
  readonly sleep: (milliseconds: number) => Promise<void>
  readonly log: Logger
}

/** A failure is one sentence for a person who reads `kubectl describe pod`. */
type GateOutcome = { readonly ok: true } | Failed

const LOG_EVERY_MS = 10_000
/** The sidecar is usually ready before it is asked; with short pauses the pod loses no time otherwise. */
const READY_PAUSE_MS = 10

/**
 * The gate's steps, in order: prove that the real endpoint is refused, load the pod's redirect, wait for the sidecar. The
 * proof comes first, since the redirect hides the real endpoint.
 */
export async function runSteps(settings: GateSettings, options: GateOptions): Promise<GateOutcome> {
  const unproven = await block(settings, options)
  if (unproven !== undefined) return failed(sentenceOf(unproven))
  if (settings.redirect === 'nft') {
    const load = async () => redirectObstacle(await options.loadRedirect())
    const obstacle = await untilDone(settings, options, load)
    if (obstacle !== undefined) return failed(sentenceOf(obstacle))
    options.log.info('redirect loaded', { port: settings.sidecarPort })
  }
  return settings.waitReady === undefined ? { ok: true } : waitReady(settings, settings.waitReady, options)
}

/** What a step waits for, and why it has to. */
type Obstacle = { readonly what: 'the block' | 'the redirect'; readonly reason: string }

const redirectObstacle = (reason: string | undefined): Obstacle | undefined =>
  reason === undefined ? undefined : { what: 'the redirect', reason }

const sentenceOf = ({ what, reason }: Obstacle) =>
  what === 'the redirect' ? `the pod's redirect could not be loaded: ${reason}` : reason

/** Proves the block. Returns what is missing, or undefined to go on. */
async function block(settings: GateSettings, options: GateOptions): Promise<Obstacle | undefined> {
  const { log, prove } = options
  const round = async (): Promise<Obstacle | undefined> => {
    const proof = await prove()
    const { dialled, fault } = proof
    // The rules of the proof are the redirect's table: where they cannot be loaded nothing is known of the block.
    if (fault !== undefined) return redirectObstacle(fault)
    const reason = whyUnproven(proof)
    if (reason !== undefined) return { what: 'the block', reason }
    if (dialled.length > 0) log.info('block proven', { refused: dialled })
    else log.info('no real metadata endpoint can be reached', { detail: 'this pod has no route to one' })
    return undefined
  }
  if (settings.proof === 'enforce') return untilDone(settings, options, round)
  const found = await round()
  if (found !== undefined) log.warn('block not proven, going on (--proof=report)', { detail: found.reason })
  return undefined
}

/**
 * Tries a step until it succeeds, and logs every ten seconds why it does not. Returns what is still missing after
 * `--proof-timeout`; under `restartPolicy: Never` it never gives up, since a failed init container would end the pod.
 */
async function untilDone(
  settings: GateSettings,
  { now, sleep, log }: GateOptions,
  step: () => Promise<Obstacle | undefined>,
): Promise<Obstacle | undefined> {
  const start = now()
  let logAt = start
  for (;;) {
    const obstacle = await step()
    if (obstacle === undefined) return undefined
    const { what, reason } = obstacle
    const waited = now() - start
    if (settings.restartPolicy !== 'Never' && waited >= settings.proofTimeout)
      return { what, reason: `${reason} (tried for ${seconds(waited)})` }
    if (now() >= logAt) {
      log.warn(`waiting for ${what}`, { detail: reason, waited: seconds(waited) })
      logAt = now() + LOG_EVERY_MS
    }
    await sleep(settings.proofInterval)
  }
}

/** Asks until the sidecar is ready, or until `--wait-timeout`; under `restartPolicy: Never` without end, like `untilDone`. */
async function waitReady(
  settings: GateSettings,
  url: URL,
  { askReadiness, now, sleep, log }: GateOptions,
): Promise<GateOutcome> {
  const start = now()
  let logAt = start + LOG_EVERY_MS
  for (;;) {
    const { ready, code, detail } = await askReadiness()
    const waited = now() - start
    if (ready) {
      log.info('sidecar ready', { waitedMs: Math.round(waited) })
      return { ok: true }
    }
    const reason = detail === undefined ? code : `${code}: ${detail}`
    const { waitTimeout, restartPolicy } = settings
    if (waitTimeout !== undefined && restartPolicy !== 'Never' && waited >= waitTimeout)
      return failed(`the sidecar at ${url.host} was not ready after ${seconds(waited)} (${reason})`)
    if (now() >= logAt) {
      log.warn('waiting for the sidecar', { code, detail, waited: seconds(waited) })
      logAt = now() + LOG_EVERY_MS
    }
    await sleep(READY_PAUSE_MS)
  }
}

const seconds = (milliseconds: number) => `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 1 : 0)}s`
