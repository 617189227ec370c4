/** Makes everything that starts the stand-in in this process get a real API server. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { minorOf, versionOf } from '../../peers/kubernetes-release.ts'
import { needsPeer, peer } from '../../peers/peers.ts'
import { type ApiServerOptions, startInstead } from '../kube/client/client.ts'
import { RealApiServer } from './api-server.ts'
import { PROGRAMS } from './programs.ts'

/** The version of the real API server, without `v`. */
export const kubernetesVersion = () => versionOf(peer('kube-apiserver') ?? 'kube-apiserver')

/** Options for `test()`: skips with the reason when a program of the control plane is absent or broken. */
export function needsControlPlane(): { skip?: string } {
  const reasons = PROGRAMS.map((name) => needsPeer(name).skip).filter((skip) => skip !== undefined)
  return reasons.length === 0 ? {} : { skip: reasons.join('; ') }
}

/**
 * Uses a real API server in place of the stand-in in all suites of this process: one for all suites that want it on
 * loopback, because each takes ten seconds and 320 MiB, and one of its own for each that wants it in a network namespace.
 * Call it at the top of a file, before any suite, so that what it starts ends after all of them.
 */
export function judgeByRealApiServer(): void {
  let directory = ''
  let shared: Promise<RealApiServer> | undefined
  const start = (options: ApiServerOptions) => {
    if (options.spawn !== undefined) return RealApiServer.start(options)
    shared ??= (async () => {
      directory = await mkdtemp(join(tmpdir(), 'real-'))
      const server = await RealApiServer.start({ directory })
      server.shared = true
      return server
    })()
    return shared
  }
  startInstead({ start, minor: minorOf(kubernetesVersion()) })
  after(async () => {
    startInstead(undefined)
    await (await shared?.catch(() => undefined))?.end()
    if (directory !== '') await rm(directory, { recursive: true, force: true })
  })
}
