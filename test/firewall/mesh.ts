/** A mesh's own redirect in a pod, as its init container or CNI plugin creates it. */
import type { Variant } from '../../node-guard/firewall/rules/iptables.ts'
import type { TestNode } from './node.ts'

export const MESH_PORT = 15001

/** Istio sends only TCP through its chain, Linkerd everything. Both exclude their proxy's user and lo, and append their jump. */
const MESHES = {
  istio: [
    ['-N', 'ISTIO_OUTPUT'],
    ['-A', 'ISTIO_OUTPUT', '-m', 'owner', '--uid-owner', '1337', '-j', 'RETURN'],
    ['-A', 'ISTIO_OUTPUT', '-o', 'lo', '-j', 'RETURN'],
    ['-A', 'ISTIO_OUTPUT', '-p', 'tcp', '-j', 'REDIRECT', '--to-ports', String(MESH_PORT)],
    ['-A', 'OUTPUT', '-p', 'tcp', '-j', 'ISTIO_OUTPUT'],
  ],
  linkerd: [
    ['-N', 'PROXY_INIT_OUTPUT'],
    ['-A', 'PROXY_INIT_OUTPUT', '-m', 'owner', '--uid-owner', '2102', '-j', 'RETURN'],
    ['-A', 'PROXY_INIT_OUTPUT', '-o', 'lo', '-j', 'RETURN'],
    ['-A', 'PROXY_INIT_OUTPUT', '-p', 'tcp', '-j', 'REDIRECT', '--to-port', String(MESH_PORT)],
    ['-A', 'OUTPUT', '-j', 'PROXY_INIT_OUTPUT'],
  ],
} as const
export type Mesh = keyof typeof MESHES

/** Adds a mesh's rules for both families in pod1. */
export async function addMesh(node: TestNode, mesh: Mesh, variant: Variant): Promise<void> {
  // The users of the proxies do not exist in our user namespace.
  const skipsOwner = node.machine.kind === 'userns'
  for (const family of ['iptables', 'ip6tables'])
    for (const rule of MESHES[mesh].filter(
      (words) => !skipsOwner || !(words as readonly string[]).includes('owner'),
    ))
      await node.must('pod1', [`${family}-${variant}`, '-w', '-t', 'nat', ...rule])
}

/** Removes all rules of every kind in pod1. */
export async function flushPod(node: TestNode): Promise<void> {
  await node.must('pod1', ['nft', 'flush ruleset'])
  for (const family of ['iptables', 'ip6tables'])
    for (const table of ['nat', 'filter'])
      for (const command of ['-F', '-X'])
        await node.must('pod1', [`${family}-legacy`, '-w', '-t', table, command])
}
