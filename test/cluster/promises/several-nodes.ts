/** What happens on one node must neither harm another node nor give it anything. */
import { setTimeout as wait } from 'node:timers/promises'
import type { KubeObject } from '../../sandbox/kube/objects/objects.ts'
import { isApiError } from '../../sandbox/kube/objects/status.ts'
import { admittedMeanwhile, expectAdmitted } from '../admitted.ts'
import { BROKER, expectCode, got, tokenOf } from '../ask-broker.ts'
import { endedPod, type LivePod, readyPod, readyPods, restarts, terminationMessage } from '../cluster-pods.ts'
import { type Context, namespaceOf } from '../context.ts'
import { CLIENT, clients, expectClosed, expectServed, probers } from '../load.ts'
import { anotherNode, guardOn, nodeNamed } from '../nodes.ts'
import { container, podObject } from '../pods.ts'
import { expect, type Group, until } from '../promise.ts'
import { guardsReady, injectorReady } from '../rollout.ts'

/** Containers of a node guard: firewall and broker. */
const CONTAINERS = 2
const EVICTION_RETRY_MS = 1000
const EVERYWHERE = { tolerations: [{ operator: 'Exists' }] } as const

/**
 * Ends the node guard's programs as the kernel's OOM killer would; reports how many. They are found among all processes of the node by
 * their command lines: the gate of a pod is the same program with another argument.
 */
const KILLER = `
const { readdirSync, readFileSync } = require('fs')
const words = (pid) => { try { return readFileSync('/proc/' + pid + '/cmdline', 'utf8').split('\\0') } catch { return [] } }
const ours = readdirSync('/proc').filter((pid) => /^[0-9]+$/.test(pid) && Number(pid) !== process.pid).filter((pid) => {
  const [, ...rest] = words(pid)
  return rest.includes('/pod2iam/broker.cjs') || (rest.includes('/pod2iam/firewall.cjs') && rest.includes('guard'))
})
for (const pid of ours) process.kill(Number(pid), 'SIGKILL')
require('fs').writeFileSync('/dev/termination-log', String(ours.length))
`

export const severalNodes: Group = {
  title: 'Several nodes',
  promises: [
    { name: 'a token is refused on another node', show: replayed },
    {
      name: 'when guard and broker of a node are killed, the block stays and no request fails',
      leftOut: ({ options }) => (options.installed ? 'the installed pod2iam is left as it is' : undefined),
      show: killed,
    },
    {
      name: 'when a node is drained under load, no request fails and no pod is refused',
      leftOut: ({ options }) =>
        options.mayReboot ? undefined : 'it cordons a node for a while: pass --may-reboot for it',
      show: drained,
    },
  ],
}

async function replayed(context: Context): Promise<string> {
  const { access, run } = context
  const victim = await client(context)
  const nodeName = await anotherNode(context, victim.spec.nodeName ?? '')
  const token = await tokenOf(context, victim)
  const own = await got(context, victim, BROKER, token)
  expect(own.status === 200, `its own pod is answered ${own.status}`)
  const app = 'far-thief'
  await access.kube.create(podObject(run, { app, place: 'shop', spec: { nodeName, ...EVERYWHERE } }))
  const thief = await readyPod(context, 'shop', app)
  return expectCode(await got(context, thief, BROKER, token), 403, 'token-not-for-this-node')
}

async function killed(context: Context): Promise<string> {
  const { nodeName = '' } = (await client(context)).spec
  const other = await anotherNode(context, nodeName)
  const [asked, tried] = [await clients(context), await probers(context)]
  const guard = await guardOn(context, nodeName)
  await context.access.kube.create(killer(context, nodeName))
  const programs = terminationMessage(await endedPod(context, 'plain', 'killer'), 'app')
  expect(Number(programs) >= CONTAINERS, `${programs} processes of the guard were found on ${nodeName}`)
  // Meanwhile the guard of the other node serves new pods.
  const app = 'elsewhere'
  await context.access.kube.create(
    podObject(context.run, { app, place: 'shop', role: context.aws.role, spec: { nodeName: other } }),
  )
  await readyPod(context, 'shop', app)
  await until(context, `${nodeName}'s guard again`, async () => {
    return restarts(await guardOn(context, nodeName)) >= restarts(guard) + CONTAINERS
  })
  await guardsReady(context)
  const closed = await expectClosed(context, tried)
  return `${programs} processes; ${closed}; ${await expectServed(context, asked)}`
}

async function drained(context: Context): Promise<string> {
  const { nodeName = '' } = (await client(context)).spec
  await anotherNode(context, nodeName)
  const [asked, tried] = [await clients(context), await probers(context)]
  const { kube } = context.access
  const cordon = (unschedulable: boolean | null) =>
    kube.patch('nodes', nodeName, undefined, { spec: { unschedulable } })
  await cordon(true)
  try {
    const [moved, admitted] = await admittedMeanwhile(context, async () => {
      const count = await evictAll(context, nodeName)
      await injectorReady(context)
      await readyPods(context, CLIENT.place, CLIENT.app, asked.size)
      return count
    })
    expect(moved > 0, `${nodeName} had no pod to evict`)
    const served = await expectServed(context, asked)
    return `${moved} evicted; ${served}; ${expectAdmitted(admitted)}; ${await expectClosed(context, tried)}`
  } finally {
    await cordon(null)
    await until(context, `${nodeName} uncordoned`, async () => {
      return (await nodeNamed(context, nodeName)).spec?.unschedulable !== true
    })
  }
}

/** Does what `kubectl drain --ignore-daemonsets --force` does, but only with pods of the test and of the product; returns their number. */
async function evictAll(context: Context, nodeName: string): Promise<number> {
  const { access, options, run } = context
  const places = (['shop', 'billing', 'strict', 'every', 'plain'] as const).map((place) =>
    namespaceOf(run, place),
  )
  const evicted = new Set<string>()
  for (const namespace of [options.namespace, ...places])
    await until(context, `the end of the pods of ${namespace} on ${nodeName}`, async () => {
      const { items } = await access.kube.list<LivePod>('pods', {
        namespace,
        fieldSelector: `spec.nodeName=${nodeName}`,
      })
      const left = items.filter((pod) => !isOfDaemonSet(pod))
      for (const { metadata } of left) {
        evicted.add(metadata.uid ?? '')
        if (metadata.deletionTimestamp === undefined)
          await access.kube.evict(namespace, metadata.name ?? '').catch(mayLater)
      }
      if (left.length > 0) await wait(EVICTION_RETRY_MS)
      return left.length === 0
    })
  return evicted.size
}

/** 429: the disruption budget allows no other eviction now. 404: the pod is gone. */
function mayLater(error: unknown): void {
  if (!isApiError(error, 404, 429)) throw error
}

function isOfDaemonSet({ metadata }: KubeObject): boolean {
  return metadata.ownerReferences?.some(({ kind }) => kind === 'DaemonSet') ?? false
}

async function client(context: Context): Promise<LivePod> {
  const [pod] = await readyPods(context, CLIENT.place, CLIENT.app)
  if (pod === undefined) throw new Error('there is no client')
  return pod
}

function killer({ run }: Context, nodeName: string): KubeObject {
  const own = {
    ...container(run, 'idle'),
    command: [run.node, '-e', KILLER],
    securityContext: { privileged: true, runAsUser: 0 },
  }
  const spec = { nodeName, hostPID: true, restartPolicy: 'Never', containers: [own], ...EVERYWHERE }
  return podObject(run, { app: 'killer', place: 'plain', spec })
}
