/** While a part is not available, running pods keep their credentials, new pods wait or are refused, and no pod reaches the endpoint. */
import { ask, type LivePod, podsOf, readyPod, readyPods, refOf } from '../cluster-pods.ts'
import { type Context, LABEL, namespaceOf } from '../context.ts'
import { clients, expectClosed, expectServed, PROBER, probers } from '../load.ts'
import { podObject } from '../pods.ts'
import type { Got } from '../programs/reports.ts'
import { expect, type Group, until } from '../promise.ts'
import { GUARD, guardsReady, INJECTOR, injectorReady } from '../rollout.ts'
import { refusal } from './refusals.ts'

export const outages: Group = {
  title: 'Outages',
  leftOut: ({ options }) => (options.installed ? 'the installed pod2iam is left as it is' : undefined),
  promises: [
    {
      name: 'without an injector, annotated pods are refused and all other pods are admitted',
      show: injectorAway,
    },
    {
      name: 'without STS, running pods keep their credentials, and a new pod waits for it',
      leftOut: ({ aws }) => (aws.setStsAvailable === undefined ? 'real STS cannot be taken away' : undefined),
      show: async (context) => {
        await context.aws.setStsAvailable?.(false)
        try {
          return await expectWaiting(context, 'sts-away', /sts-unavailable/)
        } finally {
          await context.aws.setStsAvailable?.(true)
          await readyPod(context, 'shop', 'sts-away')
        }
      },
    },
    {
      name: 'without broker and firewall, running pods keep their credentials, a new pod waits, and the block stays',
      show: async (context) => {
        const before = await probers(context)
        await placeGuards(context, { [LABEL]: 'nowhere' })
        try {
          const { options } = context
          const selector = 'app.kubernetes.io/component=node-guard'
          await until(context, 'the end of all guards', async () => {
            return (await podsOf(context, options.namespace, selector)).length === 0
          })
          const served = await expectWaiting(context, 'guard-away', /broker/)
          return `${served}; ${await expectClosed(context, before)}`
        } finally {
          await placeGuards(context, { [LABEL]: null })
          await guardsReady(context)
          await readyPod(context, 'shop', 'guard-away')
        }
      },
    },
  ],
}

async function injectorAway(context: Context): Promise<string> {
  const { access, run, aws, options } = context
  const replicas = await injectorReady(context)
  const before = await clients(context)
  const scale = (count: number) =>
    access.kube.patch('deployments', INJECTOR, options.namespace, { spec: { replicas: count } })
  const create = async (place: 'shop' | 'plain', role?: string) => {
    const workload = { app: 'no-injector', place, ...(role === undefined ? {} : { role }) }
    await access.kube.create(podObject(run, workload), { dryRun: true })
    return 'admitted'
  }
  await scale(0)
  try {
    const selector = 'app.kubernetes.io/component=injector'
    await until(context, 'the end of all injectors', async () => {
      const { items } = await access.kube.list('pods', {
        namespace: options.namespace,
        labelSelector: selector,
      })
      return items.length === 0
    })
    await refusal(create('shop', aws.role), /failed calling webhook/)
    await create('shop')
    await create('plain', aws.role)
    await create('plain')
    return expectServed(context, before)
  } finally {
    await scale(replicas)
    await injectorReady(context)
    await until(context, 'an admission', () => create('shop', aws.role))
  }
}

/** A new annotated pod is held at its gate and its sidecar says why, while clients are still served. */
async function expectWaiting(context: Context, app: string, why: RegExp): Promise<string> {
  const before = await clients(context)
  await context.access.kube.create(podObject(context.run, { app, place: 'shop', role: context.aws.role }))
  const [asker] = await readyPods(context, PROBER.place, PROBER.app)
  expect(asker !== undefined, 'there is no prober')
  const pod = await until(context, `the sidecar's "${why.source}"`, async () => {
    const [found] = await podsOf(context, namespaceOf(context.run, 'shop'), `app=${app}`)
    const ip = found?.status?.podIP
    if (found === undefined || ip === undefined) return undefined
    const host = ip.includes(':') ? `[${ip}]` : ip
    const answer: Got = JSON.parse(await ask(context, refOf(asker), ['get', `http://${host}:9170/readyz`]))
    return answer.status === 503 && why.test(answer.body) && found
  })
  expect(isWaiting(pod), 'its app was started')
  return await expectServed(context, before)
}

function isWaiting({ status }: LivePod): boolean {
  const state = status?.containerStatuses?.find(({ name }) => name === 'app')?.state ?? {}
  return 'waiting' in state
}

async function placeGuards(
  { access, options }: Context,
  nodeSelector: Record<string, string | null>,
): Promise<void> {
  await access.kube.patch('daemonsets', GUARD, options.namespace, {
    spec: { template: { spec: { nodeSelector } } },
  })
}
