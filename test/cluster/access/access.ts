/** A cluster as the promises access it. */
import type { KubeClient } from '../../sandbox/kube/client/kube-client.ts'
import type { Installation } from '../install/installation.ts'

export type PodRef = { readonly namespace: string; readonly name: string }

export type Executed = { readonly code: number; readonly stdout: string; readonly stderr: string }

export type ClusterAccess = {
  /** For the heading: which cluster this is. */
  readonly title: string
  readonly kube: KubeClient
  readonly installation: Installation
  /** Why no node can be rebooted; undefined if nodes can be. */
  readonly noReboot?: string
  /** Reboots a node, where a pod that asks the kernel for a reboot would end more than the node. */
  readonly reboot?: (node: string) => Promise<void>
  /** Runs a script for `/bin/sh` on a node, as root, as its user data would be. */
  readonly runOnNode?: (node: string, script: string) => Promise<void>
  /** Path of Node in pod2iam's own images. */
  readonly nodeOfImages: string
  /** Milliseconds between two polls of something that is waited for. */
  readonly pollMs: number
  /**
   * Runs a command in a container until it ends; a command that fails is no error.
   *
   * @param input its standard input; the command must not wait for its end
   */
  readonly exec: (
    pod: PodRef,
    container: string,
    argv: readonly string[],
    input?: string,
  ) => Promise<Executed>
  readonly close: () => Promise<void>
}
