/** The injector: the admission webhooks that add the sidecar to an annotated pod and make sure that it stays. */
import { hostname } from 'node:os'
import { systemClock } from '../common/clock.ts'
import { messageOf } from '../common/errors.ts'
import { healthServer } from '../common/health.ts'
import { onTerminate } from '../common/lifecycle.ts'
import { pinoLogger } from '../common/pino-log.ts'
import { settingsOrExit } from '../common/settings.ts'
import { VERSION } from '../common/version.ts'
import { fairQueue } from './admission/fair-queue.ts'
import { warmUp } from './admission/warm-up.ts'
import { webhooks } from './admission/webhook.ts'
import type { ServingCertificate } from './certificates/files.ts'
import { certificateSource } from './certificates/source.ts'
import { injectionSettings } from './injection-settings.ts'
import { apiServer } from './kubernetes/access.ts'
import { watchReachability } from './kubernetes/api-reachability.ts'
import { accountLookup, namespaceLookup } from './kubernetes/lookups.ts'
import { injectorMetrics } from './metrics.ts'
import { readinessOf } from './readiness.ts'
import { type WebhookServer, webhookServer } from './server/https.ts'
import { ENDING_MS, MAX_ACCEPTING } from './server/shutdown.ts'
import {
  type CertificateOrigin,
  certificateOrigin,
  type InjectorSettings,
  SPEC,
  settingMistakes,
} from './settings.ts'
import { namespaceLimits } from './warnings/namespace-limits.ts'
import { startWatches } from './watches.ts'

const TITLE = 'pod2iam injector'

async function run(settings: InjectorSettings, origin: CertificateOrigin) {
  const log = pinoLogger('injector', settings.logLevel)
  const metrics = injectorMetrics()
  const { forReviews, forWarnings, background } = await apiServer(settings.kubeconfig, log)
  warmUp(settings.roleKey)
  const clock = systemClock.monotonic
  const own = injectionSettings(settings)
  const watches = startWatches(settings, own, { kube: background, log, metrics }, hostname())
  const answers = webhooks({
    settings: watches.peers.settings,
    lookup: namespaceLookup(forReviews),
    accounts: accountLookup(forReviews),
    limits: namespaceLimits(forWarnings, clock, log),
    metrics,
    log,
    clock,
    turns: fairQueue(clock),
  })
  const certificates = await certificateSource(origin, forReviews, log)
  certificates.follow(({ notAfter }) => metrics.certificateNotAfter(notAfter))
  if (origin.kind === 'authority') metrics.bundleInSync(certificates.bundleInSync)
  const api = watchReachability(forReviews)

  let server: WebhookServer | undefined
  let isDraining = false
  const readiness = () =>
    readinessOf({
      isDraining,
      untrusted: certificates.problem(),
      isServing: server !== undefined,
      notAfter: certificates.current()?.notAfter,
      unreachable: api.problem(),
      knowsReplicas: watches.peers.isSettled(),
    })
  const health = healthServer({ readiness, metrics: metrics.text })
  await new Promise<void>((resolve, reject) => {
    health.once('error', reject).listen(settings.healthPort, resolve)
  })
  const acceptMs = settings.drainSeconds * 1000
  onTerminate(
    async () => {
      isDraining = true
      certificates.stop()
      api.stop()
      log.info('draining')
      await server?.drain(acceptMs)
      // Until here it judges reviews, and must know the replicas that take its place.
      watches.stop()
      log.info('drained')
    },
    MAX_ACCEPTING * acceptMs + ENDING_MS + 1000,
  )
  const first = await new Promise<ServingCertificate>(certificates.follow)
  server = await webhookServer(answers, first, { port: settings.port, log })
  certificates.follow(server.setCertificate)
  log.info('serving', { version: VERSION, port: settings.port, healthPort: settings.healthPort })
}

function exitWith(code: number, lines: readonly string[]): never {
  process.stderr.write(lines.map((line) => `${TITLE}: ${line}\n`).join(''))
  process.exit(code)
}

const settings = settingsOrExit(TITLE, SPEC)
const mistakes = settingMistakes(settings)
const origin = certificateOrigin(settings)
if (mistakes.length > 0 || !origin.ok) exitWith(2, mistakes)
run(settings, origin.origin).catch((error) => exitWith(1, [messageOf(error)]))
