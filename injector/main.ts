/** The injector: the admission webhooks that add the sidecar to an annotated pod and make sure that it stays. */
import { hostname } from 'node:os'
import { messageOf } from '../common/errors.ts'
import { healthServer, type Readiness } from '../common/health.ts'
import { onTerminate } from '../common/lifecycle.ts'
import { pinoLogger } from '../common/pino-log.ts'
import { settingsOrExit } from '../common/settings.ts'
import { VERSION } from '../common/version.ts'
import { fairTurns } from './admission/fair-turns.ts'
import { warmUp } from './admission/warm-up.ts'
import { webhooks } from './admission/webhook.ts'
import type { ServingCertificate } from './certificates/files.ts'
import { certificateSource } from './certificates/source.ts'
import { injectionSettings } from './injection-settings.ts'
import { apiServer } from './kubernetes/access.ts'
import { accountLookup } from './kubernetes/account-lookup.ts'
import { watchReachability } from './kubernetes/api-reachability.ts'
import { namespaceLookup } from './kubernetes/namespace-lookup.ts'
import { injectorMetrics } from './metrics.ts'
import { ENDING_MS, MAX_ACCEPTING } from './server/drain.ts'
import { type WebhookServer, webhookServer } from './server/https.ts'
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
  const { direct, brief, patient } = await apiServer(settings.kubeconfig, log)
  warmUp(settings.roleKey)
  const clock = () => performance.now()
  const own = injectionSettings(settings)
  const watches = startWatches(settings, own, { kube: patient, log, metrics }, hostname())
  const answers = webhooks({
    settings: watches.peers.settings,
    lookup: namespaceLookup(direct),
    accounts: accountLookup(direct),
    limits: namespaceLimits(brief, clock, log),
    metrics,
    log,
    clock,
    turns: fairTurns(clock),
  })

  const serving: { certificate?: ServingCertificate; server?: WebhookServer } = {}
  const first = Promise.withResolvers<ServingCertificate>()
  const onCertificate = (certificate: ServingCertificate) => {
    serving.certificate = certificate
    metrics.certificateNotAfter(certificate.notAfter)
    serving.server?.setCertificate(certificate)
    first.resolve(certificate)
  }
  const source = await certificateSource(origin, direct, onCertificate, log)
  if (origin.kind === 'authority') metrics.bundleInSync(source.bundleInSync)
  const api = watchReachability(direct)
  let draining = false
  const readiness = (): Readiness => {
    const untrusted = source.problem()
    const unreachable = api.problem()
    const { certificate, server } = serving
    if (draining) return { ready: false, code: 'draining' }
    if (untrusted !== undefined) return { ready: false, code: 'certificate-not-ready', detail: untrusted }
    if (server === undefined || certificate === undefined) return { ready: false, code: 'starting' }
    if (certificate.notAfter < Date.now()) return { ready: false, code: 'certificate-expired' }
    if (unreachable !== undefined)
      return { ready: false, code: 'api-server-unreachable', detail: unreachable }
    // Before it knows the other replicas it could write what one of them refuses.
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
      await serving.server?.drain(acceptMs)
      // Until here it judges reviews, and must know the replicas that take its place.
      watches.stop()
      log.info('drained')
    },
    MAX_ACCEPTING * acceptMs + ENDING_MS + 1000,
  )
  const server = await webhookServer(answers, await first.promise, { port: settings.port, log })
  serving.server = server
  // Another certificate may have come while the server was starting.
  if (serving.certificate !== undefined) server.setCertificate(serving.certificate)
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
