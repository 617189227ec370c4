/** Shell blocks of the guides, run page by page with real kubectl against an API server without nodes. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { needsPeer } from '../peers/peers.ts'
import { components, SYSTEM_NAMESPACE } from '../sandbox/install.ts'
import type { KubeClient } from '../sandbox/kube/client/client.ts'
import { namespace, pod, testServer } from '../sandbox/kube/client/test-server.ts'
import { eventually } from '../support/until.ts'
import { PROJECT, page } from './markdown.ts'
import { ok, type StandIn, startStandIns } from './stand-ins.ts'

const GUIDES = [
  'README.md',
  'docs/operations.md',
  'docs/troubleshooting.md',
  'docs/migrating-from-kube2iam.md',
  'docs/migrating-from-kiam.md',
]

describe('the commands of', needsPeer('kubectl'), () => {
  const server = testServer()

  for (const file of GUIDES)
    test(`${file} do not fail with real kubectl`, async () => {
      const kube = server().admin
      await prepare(kube)
      const standIns = await startStandIns({ kubectl: kubectl(kube), helm: helm(kube), aws: () => ok() })
      try {
        const KUBECONFIG = await server().kubeconfig()
        // All pages share one directory, since kubectl caches what it has learned about the server in it.
        const env = { ...process.env, PATH: standIns.path, HOME: server().directory, KUBECONFIG }
        await symlink(join(PROJECT, 'charts'), join(standIns.directory, 'charts'))
        // cli.test.ts runs the commands of `pod2iam` in a cluster with nodes.
        for (const { at, text } of page(file).blocks.filter(
          ({ language, tag }) => language === 'sh' && tag !== 'pod2iam',
        ))
          assert.equal(await run(text, { env, cwd: standIns.directory }), '', at)
      } finally {
        await standIns.close()
      }
    })
})

const WORKLOADS = ['Deployment', 'StatefulSet', 'DaemonSet'] as const

/** Creates the objects that the pages name. */
async function prepare(kube: KubeClient): Promise<void> {
  for (const one of ['reports', 'kube-system', 'storage-system']) await kube.apply(namespace(one))
  const name = 'nightly-7d9f8-x2x4q'
  if ((await kube.find('pods', name, 'reports')) === undefined) await kube.create(pod(name, 'reports'))
  const labels = { app: 'nightly' }
  const template = { metadata: { labels }, spec: { containers: [{ name: 'app', image: 'app:1' }] } }
  for (const kind of WORKLOADS)
    await kube.apply({
      apiVersion: 'apps/v1',
      kind,
      metadata: { name: 'nightly', namespace: 'reports' },
      spec: {
        selector: { matchLabels: labels },
        template,
        ...(kind === 'StatefulSet' ? { serviceName: 'x' } : {}),
      },
    })
}

/** Leaves out what needs a node: exec, logs, and rollouts, for which only the object is read. */
function kubectl(kube: KubeClient): StandIn {
  return async ({ args }) => {
    if (args.includes('exec') || args.includes('logs')) return ok()
    const at = args.indexOf('rollout')
    if (args[at + 1] === 'restart') {
      // kubectl writes the time of the restart in seconds into the template, and refuses two restarts in the same second.
      const last = await lastRestart(kube)
      await eventually('another second', () => Date.now() >= last + 1000)
    }
    if (at < 0 || args[at + 1] !== 'status') return undefined
    const [kind = '', name = ''] = args[at + 2]?.split('/') ?? []
    await kube.get(
      { deploy: 'deployments', ds: 'daemonsets' }[kind] ?? kind,
      name,
      args[args.indexOf('-n') + 1],
    )
    return ok()
  }
}

/** The time of the last restart of a workload by kubectl, in milliseconds, rounded to seconds. */
async function lastRestart(kube: KubeClient): Promise<number> {
  const times = WORKLOADS.map(async (kind) => {
    const workload = await kube.get(`${kind.toLowerCase()}s`, 'nightly', 'reports')
    const { template } = workload.spec as { template: { metadata: { annotations?: Record<string, string> } } }
    return Date.parse(template.metadata.annotations?.['kubectl.kubernetes.io/restartedAt'] ?? '1970-01-01')
  })
  return Math.max(...(await Promise.all(times)))
}

/** Creates and deletes the objects; helm.test.ts renders the commands. */
function helm(kube: KubeClient): StandIn {
  const workloads = components({ localPath: (path) => path }).filter(({ kind }) =>
    /^(?:Deployment|DaemonSet)$/.test(kind),
  )
  return async ({ args }) => {
    if (args[0] === 'upgrade') {
      await kube.apply(namespace(SYSTEM_NAMESPACE))
      for (const object of workloads) await kube.apply(object)
    } else if (args[1] === 'pod2iam')
      for (const { kind, metadata } of workloads)
        await kube.delete(`${kind.toLowerCase()}s`, metadata.name, metadata.namespace)
    return ok()
  }
}

/** The error of a script, or an empty string. */
function run(script: string, options: { env: NodeJS.ProcessEnv; cwd: string }): Promise<string> {
  const shell = spawn('bash', ['-euo', 'pipefail', '-c', script], {
    ...options,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [shell.stdout, shell.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk
    })
  return new Promise((resolve) =>
    shell.on('close', (code) => resolve(code === 0 ? '' : `${code}: ${output}`)),
  )
}
