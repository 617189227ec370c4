/** The images of the cluster: those of the product, built from its Dockerfile, and a pause image. */
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildImages } from '../images/buildah.ts'

const PAUSE_SOURCE = fileURLToPath(new URL('pause', import.meta.url))

/** Builds them into `directory`, one directory for each. */
export function makeImages(directory: string): void {
  const root = join(directory, 'pause-root')
  mkdirSync(root, { recursive: true })
  const go = ['build', '-trimpath', '-buildvcs=false', '-ldflags', '-s -w', '-o', join(root, 'pause'), '.']
  execFileSync('go', go, { cwd: PAUSE_SOURCE, env: { ...process.env, CGO_ENABLED: '0' } })
  const builder = buildImages()
  try {
    for (const target of ['sidecar', 'injector', 'node-guard'] as const)
      builder.export(`pod2iam/${target}`, join(directory, target))
    builder.add('pause', root, ['/pause'])
    builder.export('pause', join(directory, 'pause'))
  } finally {
    builder.remove()
  }
}
