/** What the parts of the kubelet stand-in share. */
import type { KubeClient } from '../kube/client/client.ts'
import type { BackOff } from './backoff.ts'
import type { Dial } from './dialer.ts'
import type { Machine } from './machine.ts'
import type { Network } from './network.ts'

/** An image is a command of this machine under a name. */
export type Image = {
  /** ENTRYPOINT: a container's `command` replaces it. */
  readonly command: readonly string[]
  /** CMD: replaced by a container's `args`, or its `command`. */
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Path in the container → path on this machine, read-only. A file that does not exist is not in the image either. */
  readonly files?: Readonly<Record<string, string>>
  /** The image's USER; default 0. */
  readonly user?: number
}

export type Images = Record<string, Image>

export type NodeContext = {
  readonly machine: Machine
  readonly network: Network
  readonly kube: KubeClient
  readonly name: string
  readonly addresses: readonly string[]
  /** Labels of the Node object in addition to the usual ones. */
  readonly labels: Readonly<Record<string, string>>
  readonly providerId?: string
  /** Looked up at every start: images may be added later. */
  readonly images: Images
  /** Directories of this machine that every container sees, read-only, at the same path. */
  readonly paths: readonly string[]
  /** Host name → address, for `/etc/hosts` of pods. */
  readonly hosts: Readonly<Record<string, string>>
  /** KUBERNETES_SERVICE_HOST and similar variables. */
  readonly serviceEnv: Readonly<Record<string, string>>
  readonly dial: Dial
  readonly backOff: BackOff
}
