/** The sandbox as a cluster: one node, the built bundles in place of images, nothing outside this machine. */

import { type Program, unpackPrograms } from '../../previous-release/programs.ts'
import { RELEASE } from '../../previous-release/recorded.ts'
import { localPath, SIDECAR_FILES } from '../../sandbox/cluster.ts'
import { createSandbox, type Images, type Sandbox } from '../../sandbox/index.ts'
import { type LocalPath, renderedInstallation } from '../install/rendered.ts'
import type { Options } from '../options.ts'
import type { ClusterAccess } from './access.ts'

const EXEC_TIMEOUT_MS = 10_000

/** Image repositories of the dry mode; `options` uses the same names. */
export const DRY_IMAGES = {
  registry: 'pod2iam',
  tag: 'dev',
  node: 'pod2iam/node-guard:dev',
  /** The same images under a second name. */
  otherRegistry: 'mirror.example',
  otherTag: 'next',
  /** Tag of the previous release, of which the recorded programs are run. */
  previousTag: RELEASE.version,
} as const

export type DryCluster = ClusterAccess & { readonly sandbox: Sandbox }

/** Starts it; needs `dist/`. */
export async function openDryCluster(options: Options): Promise<DryCluster> {
  const previous = unpackPrograms()
  const pathOf: LocalPath = (path, release) => {
    const [, program] = /^\/pod2iam\/(\w+)\.cjs$/.exec(path) ?? []
    return release === 'previous' && program !== undefined
      ? previous.file(program as Program)
      : localPath(path)
  }
  const { registry, otherRegistry, tag, otherTag, previousTag } = DRY_IMAGES
  const sandbox = await createSandbox({
    images: {
      ...imagesOf(registry, tag, (path) => pathOf(path, 'this')),
      ...imagesOf(otherRegistry, tag, (path) => pathOf(path, 'this')),
      ...imagesOf(registry, otherTag, (path) => pathOf(path, 'this')),
      ...imagesOf(registry, previousTag, (path) => pathOf(path, 'previous')),
    },
    paths: [previous.directory],
  })
  return {
    title: `the sandbox (${sandbox.kind})`,
    kube: sandbox.kube,
    installation: renderedInstallation(sandbox.kube, options, pathOf),
    noReboot: 'the sandbox’s node cannot be rebooted',
    nodeOfImages: process.execPath,
    pollMs: 50,
    exec: ({ namespace, name }, container, argv, input = '') =>
      sandbox.pods.exec(`${namespace}/${name}`, argv, { container, input, timeout: EXEC_TIMEOUT_MS }),
    close: async () => {
      await sandbox.close()
      previous.remove()
    },
    sandbox,
  }
}

/** The three images of a registry, as commands on this machine. */
function imagesOf(registry: string, tag: string, pathOf: (path: string) => string): Images {
  const run = (program: Program, ...flags: string[]) => ({
    command: [process.execPath, ...flags, pathOf(`/pod2iam/${program}.cjs`)],
  })
  return {
    [`${registry}/sidecar:${tag}`]: {
      ...run('sidecar', '--max-semi-space-size=1', '--v8-pool-size=0'),
      files: SIDECAR_FILES,
    },
    [`${registry}/injector:${tag}`]: run('injector'),
    [`${registry}/node-guard:${tag}`]: run('firewall'),
  }
}
