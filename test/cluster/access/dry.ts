/** The sandbox as a cluster: one node, the built bundles in place of images, nothing outside this machine. */

import { localPath } from '../../sandbox/cluster.ts'
import { createSandbox, type Sandbox } from '../../sandbox/index.ts'
import { renderedInstallation } from '../install/rendered.ts'
import type { Options } from '../options.ts'
import type { ClusterAccess } from './access.ts'

const EXEC_TIMEOUT_MS = 10_000

/** Image repositories of the dry mode; `options` name the same. */
export const DRY_IMAGES = {
  registry: 'pod2iam',
  tag: 'dev',
  node: 'pod2iam/node-guard:dev',
} as const

export type DryCluster = ClusterAccess & { readonly sandbox: Sandbox }

/** Starts it; needs `dist/`. */
export async function openDryCluster(options: Options): Promise<DryCluster> {
  const run = (file: string, ...flags: string[]) => ({
    command: [process.execPath, ...flags, localPath(`/pod2iam/${file}.cjs`)],
  })
  const sandbox = await createSandbox({
    images: {
      'pod2iam/sidecar:dev': run('sidecar', '--max-semi-space-size=1', '--v8-pool-size=0'),
      'pod2iam/injector:dev': run('injector'),
      'pod2iam/node-guard:dev': run('firewall'),
    },
  })
  return {
    title: `the sandbox (${sandbox.kind})`,
    kube: sandbox.kube,
    installation: renderedInstallation(sandbox.kube, options, localPath),
    noReboot: 'the sandbox’s node cannot be rebooted',
    nodeOfImages: process.execPath,
    pollMs: 50,
    exec: ({ namespace, name }, container, argv, input = '') =>
      sandbox.pods.exec(`${namespace}/${name}`, argv, { container, input, timeout: EXEC_TIMEOUT_MS }),
    close: sandbox.close,
    sandbox,
  }
}
