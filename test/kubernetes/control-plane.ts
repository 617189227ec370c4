/** The control plane, in the network namespace of the test: etcd, API server, controller-manager, scheduler. */
import { join } from 'node:path'
import { peer } from '../peers/peers.ts'
import type { Program } from '../sandbox/real/logged.ts'
import { apiServerFlags, controllerManagerFlags, etcdFlags, schedulerFlags } from './flags.ts'
import { command, started, startProgram } from './program.ts'

/** Starts it and waits until it is ready. @throws Error with the last output of the program that did not start */
export async function startControlPlane(directory: string): Promise<Program[]> {
  const start = (name: string, flags: readonly string[]) =>
    startProgram(name, [peer(name) ?? name, ...flags], join(directory, `${name}.log`))
  const etcd = start('etcd', etcdFlags(directory))
  const api = start('kube-apiserver', apiServerFlags(directory))
  const kubectl = [peer('kubectl') ?? 'kubectl', '--kubeconfig', join(directory, 'admin.kubeconfig')]
  await started('The API server', api, async () => {
    const ended = etcd.ended()
    if (ended !== undefined) throw new Error(ended)
    return (await command([...kubectl, 'get', '--raw', '/readyz'])) === 'ok' || undefined
  })
  return [
    etcd,
    api,
    start('kube-controller-manager', controllerManagerFlags(directory)),
    start('kube-scheduler', schedulerFlags(directory)),
  ]
}
