/** Starts a cluster of two nodes and waits until they are Ready. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { minorOf, versionOf } from '../peers/kubernetes-release.ts'
import { peer } from '../peers/peers.ts'
import { createAuthority } from '../sandbox/kube/client/certificates.ts'
import type { Program } from '../sandbox/real/logged.ts'
import { startControlPlane } from './control-plane.ts'
import { writeCredentials } from './credentials.ts'
import { CONTROL_PLANE, nodesOf, REGISTRY_PORT } from './layout.ts'
import { Node } from './node.ts'
import { serveRegistry } from './registry.ts'
import { makeSwitch } from './switch.ts'

export type Place = {
  /** The directory of this run, which contains `images/`. */
  readonly directory: string
  /** Where the CNI plugins are. */
  readonly plugins: string
  /** Path of the run's cgroup in every hierarchy. */
  readonly cgroup: string
  readonly cgroups: 'machine' | 'v2'
  readonly progress: (line: string) => void
}

export type Cluster = {
  readonly kubeconfig: string
  readonly nodes: readonly Node[]
  /** The program that ended although it should run, with its last output. */
  readonly ended: () => string | undefined
  readonly close: () => Promise<void>
}

/** Starts the cluster in this process's network namespace, which must be empty. */
export async function startCluster(place: Place): Promise<Cluster> {
  const { directory, plugins, cgroup, cgroups, progress } = place
  const shared = join(directory, 'shared')
  await mkdir(shared, { recursive: true })
  const minor = minorOf(versionOf(peer('kubelet') ?? 'kubelet'))
  const plans = nodesOf(minor)
  progress(`kube-proxy: ${plans.map(({ name, proxyMode }) => `${proxyMode} on ${name}`).join(', ')}`)
  await writeCredentials(shared, await createAuthority('pod2iam kubernetes test'), plans)
  await makeSwitch(plans)
  const registry = await serveRegistry(join(directory, 'images'), CONTROL_PLANE, REGISTRY_PORT)
  const nodes = plans.map((plan) => {
    const site = { shared, own: join(directory, plan.name), plugins, cgroup, cgroups, minor }
    return new Node(
      plan,
      site,
      plans.filter((other) => other !== plan),
    )
  })
  let plane: readonly Program[] = []
  const close = async () => {
    await Promise.all(nodes.map((node) => node.powerOff()))
    await Promise.all(plane.map((program) => program.kill()))
    registry.closeAllConnections()
    registry.close()
  }
  try {
    plane = await startControlPlane(shared)
    progress('The API server is ready.')
    await Promise.all(nodes.map((node) => node.powerOn()))
    return {
      kubeconfig: join(shared, 'admin.kubeconfig'),
      nodes,
      ended: () =>
        [...plane, ...nodes].map((program) => program.ended()).find((words) => words !== undefined),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
