/** Installs the chart with real helm. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parseAllDocuments } from 'yaml'
import { peer } from '../../peers/peers.ts'
import type { KubeObject } from '../../sandbox/kube/objects/objects.ts'
import type { Options } from '../options.ts'
import type { Installation, Values } from './installation.ts'

const TIMEOUT_MS = 600_000
const MAX_OUTPUT = 64 * 1024 * 1024

/** @throws Error with a sentence when helm is not installed */
export function helmInstallation(options: Options): Installation {
  const { release, namespace, chart } = options
  const inNamespace = ['--namespace', namespace]
  const cluster = [
    ...(options.kubeconfig === undefined ? [] : ['--kubeconfig', options.kubeconfig]),
    ...(options.context === undefined ? [] : ['--kube-context', options.context]),
  ]
  return {
    by: 'helm',
    render: async (values) =>
      objectsOf(await withValues(options, values, (files) => template(options, files))),
    apply: async (values, which = 'this') => {
      const from = which === 'this' ? chart : options.previousChart
      if (from === undefined) throw new Error('--previous-chart names no chart of the previous release')
      await withValues(options, values, (files) =>
        helm(['upgrade', '--install', release, from, ...inNamespace, ...cluster, ...files]),
      )
    },
    rollback: async () => {
      await helm(['rollback', release, ...inNamespace, ...cluster])
    },
    uninstall: async () => {
      await helm(['uninstall', release, ...inNamespace, ...cluster])
    },
  }
}

/** `helm template` with the test's values over those of the options; YAML. */
export function template(options: Options, files: readonly string[]): Promise<string> {
  const { release, chart, namespace } = options
  const kubernetes = ['--kube-version', '1.34.0']
  return helm(['template', release, chart, '--namespace', namespace, '--skip-tests', ...kubernetes, ...files])
}

/** Calls with `--values FILE` flags: the operator's files first, then what the test needs, which takes precedence. */
export async function withValues<T>(
  options: Options,
  values: Values,
  call: (files: string[]) => Promise<T>,
): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'pod2iam-values-'))
  try {
    const own = join(directory, 'values.json')
    writeFileSync(own, JSON.stringify(values))
    return await call([...options.values, own].flatMap((file) => ['--values', file]))
  } finally {
    rmSync(directory, { recursive: true })
  }
}

export function objectsOf(text: string): KubeObject[] {
  return parseAllDocuments(text).flatMap((document) => {
    const object: KubeObject | null = document.toJS()
    return object === null ? [] : [object]
  })
}

async function helm(args: readonly string[]): Promise<string> {
  const command = peer('helm')
  if (command === undefined)
    throw new Error('helm is not found; install it: https://helm.sh/docs/intro/install/')
  try {
    const how = { timeout: TIMEOUT_MS, maxBuffer: MAX_OUTPUT }
    return (await promisify(execFile)(command, [...args], how)).stdout
  } catch (error) {
    const { stderr = '', message } = error as Error & { stderr?: string }
    throw new Error(`helm ${args[0]} failed: ${stderr.trim() || message}`)
  }
}
