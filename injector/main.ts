/** The injector: the admission webhooks that give an annotated pod its sidecar and see to it that it stays. */
import { hostname } from 'node:os'
import { messageOf } from '../common/errors.ts'
import { healthServer, type Readiness } from '../common/health.ts'
import { onTerminate } from '../common/lifecycle.ts'
import { pinoLogger } from '../common/pino-log.ts'
import { settingsOrExit } from '../common/settings.ts'
import { VERSION } from '../common/version.ts'
import { mutator } from './admission/mutate.ts'
import { validator } from './admission/validate.ts'
import type { ServingCertificate } from './certificates/files.ts'
import { certificateSource } from './certificates/source.ts'
import { injectionSettings } from './injection-settings.ts'
import { apiServer } from './kubernetes/access.ts'
import { watchReachability } from './kubernetes/api-reachability.ts'
import { namespaceLookup } from './kubernetes/namespace-lookup.ts'
import { injectorMetrics } from './metrics.ts'
import { ENDING_MS, MOST_ACCEPTING } from './server/drain.ts'
import { fairTurns } from './server/fair-turns.ts'
import { type WebhookServer, webhookServer } from './server/https.ts'
import { warmUp } from './server/warm-up.ts'
import {
  type CertificateOrigin,
  certificateOrigin,
  type InjectorSettings,
  SPEC,
  settingMistakes,
} from './settings.ts'
import { namespaceLimits } from './warnings/namespace-limits.ts'
import { warner } from './warnings/warn.ts'
import { startWatches } from './watches.ts'

const TITLE = 'pod2iam injector'

async function run(settings: InjectorSettings, origin: CertificateOrigin) {
  const log = pinoLogger('injector', settings.logLevel)
  const metrics = injectorMetrics()
  const { direct, brief, patient } = await apiServer(settings.kubeconfig, log)
  warmUp(settings.roleKey)
  const clock = () => performance.now()
  const watches = startWatches(
    settings,
    injectionSettings(settings),
    { kube: patient, log, metrics },
    hostname(),
  )
  const dependencies = {
    settings: watches.peers.settings,
    lookup: namespaceLookup(direct),
    metrics,
    log,
    clock,
    turns: fairTurns(clock),
  }
  const webhooks = {
    mutate: mutator(dependencies),
    validate: validator(dependencies),
    warn: warner({ ...dependencies, limits: namespaceLimits(brief, clock, log) }),
  }

  let serving: ServingCertificate | undefined
  let server: WebhookServer | undefined
  const started = Promise.withResolvers<void>()
  // Awaited below; until then a failure must not count as unhandled.
  started.promise.catch(() => undefined)
  const onCertificate = (certificate: ServingCertificate) => {
    const isFirst = serving === undefined
    serving = certificate
    metrics.certificateNotAfter(certificate.notAfter)
    if (!isFirst) return server?.setCertificate(certificate)
    webhookServer(webhooks, certificate, { port: settings.port, log }).then((listening) => {
      server = listening
      // A second certificate may have come while the first was on its way.
      if (serving !== undefined && serving !== certificate) server.setCertificate(serving)
      started.resolve()
    }, started.reject)
  }
  const source = await certificateSource(origin, direct, onCertificate, log)
  if (origin.kind === 'authority') metrics.bundleInSync(source.bundleInSync)
  const api = watchReachability(direct)
  let draining = false
  const readiness = (): Readiness => {
    const untrusted = source.problem()
    const unreachable = api.problem()
    if (draining) return { ready: false, code: 'draining' }
    if (untrusted !== undefined) return { ready: false, code: 'certificate-not-ready', detail: untrusted }
    if (server === undefined || serving === undefined) return { ready: false, code: 'starting' }
    if (serving.notAfter < Date.now()) return { ready: false, code: 'certificate-expired' }
    if (unreachable !== undefined)
      return { ready: false, code: 'api-server-unreachable', detail: unreachable }
    // Before it knows them it could write what another replica refuses.
    if (!watches.peers.isSettled()) return { ready: false, code: 'looking-for-replicas' }
    return { ready: true, code: 'ready' }
  }
  const health = healthServer({ readiness, metrics: metrics.text })
  await new Promise<void>((resolve, reject) => {
    health.once('error', reject).listen(settings.healthPort, resolve)
  })
  const acceptMs = settings.drainSeconds * 1000
  onTerminate(
    async () => {
      draining = true
      source.stop()
      api.stop()
      log.info('draining')
      await server?.drain(acceptMs)
      // Until then it judges, and has to know the replicas that take its place.
      watches.stop()
      log.info('drained')
    },
    MOST_ACCEPTING * acceptMs + ENDING_MS + 1000,
  )
  await started.promise
  log.info('serving', { version: VERSION, port: settings.port, healthPort: settings.healthPort })
}

function exitWith(code: number, lines: readonly string[]): never {
  process.stderr.write(lines.map((line) => `${TITLE}: ${line}\n`).join(''))
  process.exit(code)
}

const settings = settingsOrExit(TITLE, SPEC)
const mistakes = settingMistakes(settings)
const origin = certificateOrigin(settings)
if (mistakes.length > 0 || typeof origin === 'string') exitWith(2, mistakes)
run(settings, origin).catch((error) => exitWith(1, [messageOf(error)]))
