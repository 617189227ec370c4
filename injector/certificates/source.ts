/** Where the serving certificate comes from: files, or the built-in authority. */
import type { Kube } from '../../common/kube/client.ts'
import type { Logger } from '../../common/log.ts'
import type { CertificateOrigin } from '../settings.ts'
import { authoritySecret } from './authority-secret.ts'
import { builtInAuthority } from './built-in-authority.ts'
import { bundlePublisher } from './ca-bundle.ts'
import { readCertificate, type ServingCertificate, watchCertificate } from './files.ts'

/** How long a `caBundle` that somebody overwrote may stay wrong. */
const RECONCILE_MS = 5000

/**
 * Passes the first certificate and every later one to `onCertificate`.
 *
 * @returns `problem`: why API servers cannot trust the current certificate; undefined while they can. `bundleInSync`: whether the live
 *   `caBundle`s are correct; undefined where the injector does not manage them
 * @throws Error with a sentence when the files cannot serve
 */
export async function certificateSource(
  origin: CertificateOrigin,
  kube: Kube,
  onCertificate: (certificate: ServingCertificate) => void,
  log: Logger,
) {
  if (origin.kind === 'files') {
    const first = await readCertificate(origin.cert, origin.key)
    onCertificate(first)
    const stop = watchCertificate(origin, first, onCertificate, log)
    return { problem: () => undefined, bundleInSync: () => undefined, stop }
  }
  const { service, secret, webhookConfiguration } = origin
  const names = ['', '.svc', '.svc.cluster.local'].map((suffix) => `${service}.${secret.namespace}${suffix}`)
  const authority = builtInAuthority({
    secret: authoritySecret(kube, secret),
    publisher: bundlePublisher(kube, webhookConfiguration),
    names,
    onLeaf: onCertificate,
    log,
    now: Date.now,
    intervalMs: RECONCILE_MS,
  })
  return { problem: authority.problem, bundleInSync: authority.inSync, stop: authority.stop }
}
