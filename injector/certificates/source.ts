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

export type CertificateSource = {
  /** Calls back with the current certificate, as soon as there is one, and then with every later one. */
  readonly follow: (follower: (certificate: ServingCertificate) => void) => void
  readonly current: () => ServingCertificate | undefined
  /** Why API servers cannot trust the current certificate; undefined while they can. */
  readonly problem: () => string | undefined
  /** Whether the live `caBundle`s are correct; undefined where the injector does not manage them. */
  readonly bundleInSync: () => boolean | undefined
  readonly stop: () => void
}

/** @throws Error with a sentence when the files cannot serve */
export async function certificateSource(
  origin: CertificateOrigin,
  kube: Kube,
  log: Logger,
): Promise<CertificateSource> {
  const { put, ...newest } = newestCertificate()
  if (origin.kind === 'files') {
    const first = await readCertificate(origin.cert, origin.key)
    put(first)
    const stop = watchCertificate(origin, first, put, log)
    return { ...newest, problem: () => undefined, bundleInSync: () => undefined, stop }
  }
  const { service, secret, webhookConfiguration } = origin
  const names = ['', '.svc', '.svc.cluster.local'].map((suffix) => `${service}.${secret.namespace}${suffix}`)
  const authority = builtInAuthority({
    secret: authoritySecret(kube, secret),
    publisher: bundlePublisher(kube, webhookConfiguration),
    names,
    onLeaf: put,
    log,
    now: Date.now,
    intervalMs: RECONCILE_MS,
  })
  return { ...newest, problem: authority.problem, bundleInSync: authority.inSync, stop: authority.stop }
}

function newestCertificate() {
  let current: ServingCertificate | undefined
  const followers: ((certificate: ServingCertificate) => void)[] = []
  return {
    put(certificate: ServingCertificate) {
      current = certificate
      for (const follower of followers) follower(certificate)
    },
    current: () => current,
    follow(follower: (certificate: ServingCertificate) => void) {
      followers.push(follower)
      if (current !== undefined) follower(current)
    },
  }
}
