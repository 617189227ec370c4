import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { KubeConfig } from '@kubernetes/client-node'
import { messageOf } from '../../common/errors.ts'
import { CliError } from '../failure.ts'
import { type Cluster, connect } from './cluster.ts'

export type ClusterOptions = {
  readonly kubeconfig?: string
  readonly context?: string
  readonly namespace?: string
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount/token'

/**
 * The cluster that kubectl would use: `--kubeconfig`, `KUBECONFIG`, `~/.kube/config`, or that of the pod in which this runs.
 *
 * @throws {CliError} if there is none
 */
export function openCluster({ kubeconfig, context, namespace }: ClusterOptions): Cluster {
  const config = read(kubeconfig)
  if (context !== undefined) {
    if (config.getContextObject(context) === null)
      throw new CliError(
        'context-unknown',
        `the kubeconfig has no context ${JSON.stringify(context)}`,
        'kubectl config get-contexts lists them',
      )
    config.setCurrentContext(context)
  }
  if (config.getCurrentCluster() === null)
    throw new CliError(
      'context-missing',
      'the kubeconfig has no current context',
      'kubectl config use-context NAME, or --context NAME',
    )
  const own = config.getContextObject(config.getCurrentContext())?.namespace
  return connect(config, namespace ?? own ?? 'default')
}

function read(file: string | undefined): KubeConfig {
  const config = new KubeConfig()
  const files = file === undefined ? fromEnvironment() : [file]
  const missing = files.find((one) => !existsSync(one))
  const remedy = 'name one with --kubeconfig or KUBECONFIG'
  if (missing !== undefined)
    throw new CliError('kubeconfig-missing', `there is no kubeconfig ${missing}`, remedy)
  if (files.length === 0 && !existsSync(SERVICE_ACCOUNT))
    throw new CliError('kubeconfig-missing', 'there is no kubeconfig', remedy)
  try {
    if (file === undefined) config.loadFromDefault()
    else config.loadFromFile(file)
  } catch (error) {
    throw new CliError(
      'kubeconfig-unreadable',
      `the kubeconfig ${files.join(', ')} cannot be read (${messageOf(error)})`,
      'correct it, or name another one with --kubeconfig',
      { cause: error },
    )
  }
  return config
}

function fromEnvironment(): string[] {
  const named = (process.env.KUBECONFIG ?? '').split(process.platform === 'win32' ? ';' : ':').filter(Boolean)
  if (named.length > 0) return named
  const own = join(homedir(), '.kube', 'config')
  return existsSync(own) ? [own] : []
}
