/** From a container's spec to its process: image, identity, environment, root file system, volumes, start. */
import { chmodSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import type { ContainerLog } from './container-log.ts'
import { type ContainerProcess, startContainer } from './container-process.ts'
import { containerEnvironment, expand, type ReadData } from './environment.ts'
import { ContainerConfigError, StartError } from './errors.ts'
import type { PodAddressing } from './field-ref.ts'
import type { LaunchPlan } from './launch-script.ts'
import { makeDirectory } from './make-directory.ts'
import type { Image, NodeContext } from './node-context.ts'
import type { Container, Pod } from './pod.ts'
import { refuseUnknownHooks } from './post-start.ts'
import { fstab, type Mount, makeMountPoint, makeRoot, TERMINATION_LOG } from './rootfs.ts'
import { processSecurity } from './security.ts'
import { shmDirectory } from './shm.ts'
import { DEFAULT_PATH } from './tools.ts'

export type PodPlace = {
  readonly pod: Pod
  /** Of the pod, in the machine. */
  readonly directory: string
  /** Its network namespace: a pod's own, or the node's. */
  readonly network: string
  readonly addressing: PodAddressing
  readonly volumes: ReadonlyMap<string, string>
  readonly read: ReadData
}

let serial = 0

/** @throws StartError with the reason the container's status shows */
export async function startInPod(
  node: NodeContext,
  place: PodPlace,
  container: Container,
  log: ContainerLog,
): Promise<ContainerProcess> {
  const image = imageOf(node, container)
  refuseUnknown(place.pod, container)
  const security = processSecurity(place.pod, container, image.user)
  const env = await environment(node, place, container, image, security.uid)
  const directory = containerDirectory(node, place, container)
  const root = `${directory}/root-${++serial}`
  const mounts = mountsOf(node, place, container, root, directory)
  const plan: LaunchPlan = {
    argv: commandOf(image, container, env),
    env,
    cwd: container.workingDir ?? '/',
    security,
    oneUid: node.machine.kind === 'userns',
    hostname: hostnameOf(node, place.pod),
    root,
    fstab: `${directory}/fstab`,
  }
  if (plan.cwd !== '/') makeMountPoint(node.machine, root, plan.cwd, false, mounts)
  writeFileSync(node.machine.path(plan.fstab), fstab(root, mounts))
  const process = await startContainer(node.machine, place.network, plan, log)
  // The mount is gone with the container's mount namespace; its directory must be removed.
  void process.exit.then(() => rmSync(node.machine.path(root), { recursive: true, force: true }))
  return process
}

/** The termination message that the container wrote; at most 4 KiB, as the kubelet reads it. */
export function readTerminationMessage(
  node: NodeContext,
  place: Pick<PodPlace, 'directory'>,
  container: Container,
): string {
  try {
    const path = node.machine.path(`${place.directory}/containers/${container.name}/termination-log`)
    return readFileSync(path).subarray(0, 4096).toString()
  } catch {
    return ''
  }
}

function imageOf(node: NodeContext, { image }: Container): Image {
  const known = node.images[image]
  if (known === undefined)
    throw new StartError('ErrImagePull', `image "${image}" is not in the sandbox's table of images`)
  return known
}

/** What the stand-in does not support is refused and not ignored. */
function refuseUnknown({ spec }: Pod, { lifecycle }: Container): void {
  refuseUnknownHooks(lifecycle)
  for (const field of ['hostPID', 'hostIPC', 'shareProcessNamespace'] as const)
    if (spec[field] === true) throw new ContainerConfigError(`the sandbox does not know ${field}`)
}

function environment(
  node: NodeContext,
  { pod, addressing, read }: PodPlace,
  container: Container,
  image: Image,
  uid: number,
): Promise<Record<string, string>> {
  const base = {
    PATH: DEFAULT_PATH,
    HOME: uid === 0 ? '/root' : '/',
    ...image.env,
    HOSTNAME: hostnameOf(node, pod),
    ...node.serviceEnv,
  }
  return containerEnvironment(pod, container, base, addressing, read)
}

/** Combined with ENTRYPOINT and CMD of an image: `command` replaces both, `args` the latter. Only the container's words are expanded. */
function commandOf(image: Image, { command, args }: Container, env: Readonly<Record<string, string>>) {
  const expanded = (words: readonly string[]) => words.map((word) => expand(word, env))
  if (command !== undefined) return [...expanded(command), ...expanded(args ?? [])]
  return [...image.command, ...(args === undefined ? (image.args ?? []) : expanded(args))]
}

function hostnameOf(node: NodeContext, pod: Pod): string {
  return pod.spec.hostNetwork === true ? node.name : pod.metadata.name.slice(0, 63)
}

function containerDirectory({ machine }: NodeContext, place: PodPlace, { name }: Container): string {
  const directory = `${place.directory}/containers/${name}`
  makeDirectory(machine.path(directory))
  const file = machine.path(`${directory}/termination-log`)
  writeFileSync(file, '')
  chmodSync(file, 0o666)
  return directory
}

function mountsOf(
  node: NodeContext,
  { pod, addressing, volumes, directory: ofPod }: PodPlace,
  container: Container,
  root: string,
  directory: string,
): Mount[] {
  const { machine } = node
  const etc = etcFiles(node, pod, addressing)
  const mounts = makeRoot(machine, root, shmDirectory(ofPod), node.paths, etc)
  const { terminationMessagePath = TERMINATION_LOG } = container
  const wanted: Mount[] = [
    { source: `${directory}/termination-log`, target: terminationMessagePath, readOnly: false },
  ]
  for (const [target, source] of Object.entries(imageOf(node, container).files ?? {}))
    if (existsSync(source)) wanted.push({ source, target, readOnly: true })
  for (const { name, mountPath, readOnly = false, subPath } of container.volumeMounts ?? []) {
    const volume = volumes.get(name)
    if (volume === undefined) throw new ContainerConfigError(`volume "${name}" is not in the pod`)
    const source = subPath === undefined ? volume : `${volume}/${subPath}`
    if (!existsSync(machine.path(source))) makeDirectory(machine.path(source))
    // Projected volumes are read-only to containers, whatever the mount says.
    const projected = pod.spec.volumes?.some(
      (v) => v.name === name && v.emptyDir === undefined && v.hostPath === undefined,
    )
    wanted.push({
      source,
      target: mountPath.replace(/(.)\/+$/, '$1'),
      readOnly: readOnly || projected === true,
    })
  }
  wanted.sort((a, b) => a.target.length - b.target.length)
  for (const mount of wanted) {
    const file = !statSync(machine.path(mount.source)).isDirectory()
    makeMountPoint(machine, root, mount.target, file, mounts)
    mounts.push(mount)
  }
  return mounts
}

function etcFiles(node: NodeContext, pod: Pod, { podIPs }: PodAddressing): Record<string, string> {
  const hostname = hostnameOf(node, pod)
  const lines = [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    ...podIPs.map((ip) => `${ip}\t${hostname}`),
    ...Object.entries(node.hosts).map(([name, address]) => `${address}\t${name}`),
  ]
  const namespace = pod.metadata.namespace ?? 'default'
  return {
    hosts: `${lines.join('\n')}\n`,
    hostname: `${hostname}\n`,
    'resolv.conf': `search ${namespace}.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n`,
  }
}
