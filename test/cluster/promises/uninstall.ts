/** Uninstalls in the documented order: guard.mode=remove, then helm uninstall. Nothing is left. */
import { BROKER_LINK } from '../../../common/addresses.ts'
import type { KubeObject } from '../../sandbox/kube/objects/objects.ts'
import { RESOURCES } from '../../sandbox/kube/objects/resources.ts'
import { isApiError } from '../../sandbox/kube/objects/status.ts'
import { ask, readyPods, refOf } from '../cluster-pods.ts'
import { type Context, NAMESPACE_PREFIX, valuesOf } from '../context.ts'
import { probers } from '../load.ts'
import type { Options } from '../options.ts'
import { container, replicated } from '../pods.ts'
import type { Leftovers } from '../programs/reports.ts'
import { expect, type Group, LeftOut, until } from '../promise.ts'
import { guardsReady } from '../rollout.ts'

const OURS = /pod2iam(?!-(?:test|aws))/i
/** Only by the chains' names: kube-proxy's rules name our Service in a comment. */
const OUR_CHAIN = /\bPOD2IAM-/

export const uninstall: Group = {
  title: 'Uninstall in the documented order',
  leftOut: ({ options }) => (options.installed ? 'the installed pod2iam is left as it is' : undefined),
  prepare: async (context) => {
    await startCheckers(context)
  },
  promises: [
    {
      name: 'guard.mode=remove removes rules and link from every node',
      show: async (context) => {
        const before = await onNodes(context)
        expect(
          before.every(({ found }) => found.length > 0),
          'the checking pods see no rules even before',
        )
        await context.access.installation.apply(valuesOf(context, { mode: 'remove', revision: '3' }))
        await guardsReady(context)
        await expectCleanNodes(context)
        const [first] = before
        return `${before.length} node(s); before, on one: ${first?.found.length} lines, ${first?.found[0]}…`
      },
    },
    {
      name: 'helm uninstall leaves no object of pod2iam behind',
      show: async (context) => {
        await context.access.installation.uninstall()
        await until(context, 'the end of its objects', async () => {
          const left = await objectsLeft(context)
          if (left.length > 0) throw new Error(`left: ${left.slice(0, 5).join(', ')}`)
          return true
        })
        return `${RESOURCES.length} kinds looked at`
      },
    },
    {
      name: 'nodes have no label, annotation or taint of pod2iam, no rule and no link',
      show: async (context) => {
        const { items } = await context.access.kube.list<
          KubeObject & { spec?: { taints?: readonly { key: string }[] } }
        >('nodes')
        const keys = items.flatMap(({ metadata, spec }) => [
          ...Object.keys(metadata.labels ?? {}),
          ...Object.keys(metadata.annotations ?? {}),
          ...(spec?.taints ?? []).map(({ key }) => key),
        ])
        const ours = keys.filter((key) => key.startsWith('pod2iam.dev/'))
        expect(ours.length === 0, `left on nodes: ${[...new Set(ours)].join(', ')}`)
        await expectCleanNodes(context)
        return `${items.length} node(s)`
      },
    },
    {
      name: 'pods reach the metadata endpoint again',
      show: async (context) => {
        const before = await probers(context)
        const reachable = [...before.values()].every(({ opened }) => opened > 0)
        if (!reachable) throw new LeftOut('they did not reach it before the installation either')
        return until(context, 'a connection of every prober', async () => {
          const now = await probers(context)
          return [...now].every(([name, { opened }]) => opened > (before.get(name)?.opened ?? 0)) && 'reached'
        })
      },
    },
  ],
}

/** Pods on every node's network that may read rules, and nothing else. */
async function startCheckers(context: Context): Promise<void> {
  const { access, run } = context
  const checker = {
    ...container(run, 'idle'),
    securityContext: { runAsUser: 0, capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW'] } },
  }
  const spec = { hostNetwork: true, tolerations: [{ operator: 'Exists' }], containers: [checker] }
  await access.kube.create(replicated(run, 'DaemonSet', { app: 'checker', place: 'plain', spec }))
  await readyPods(context, 'plain', 'checker')
}

async function expectCleanNodes(context: Context): Promise<void> {
  for (const { node, found } of await onNodes(context))
    expect(found.length === 0, `left on ${node}: ${found.join(', ')}`)
}

/** What every node has of pod2iam: tables, chains, the broker's link. */
async function onNodes(context: Context): Promise<{ node: string; found: string[] }[]> {
  const pods = await readyPods(context, 'plain', 'checker')
  return Promise.all(
    pods.map(async (pod) => {
      const { tables, links, chains }: Leftovers = JSON.parse(await ask(context, refOf(pod), ['node']))
      expect(!tables.startsWith('nft:'), `the rules cannot be read on ${pod.spec.nodeName}: ${tables}`)
      return { node: pod.spec.nodeName ?? '', found: leftOf({ tables, links, chains }) }
    }),
  )
}

/** What is of pod2iam in the output of a node's tools, one entry per line. */
export function leftOf({ tables, links, chains }: Leftovers): string[] {
  const lines = (text: string, ours: RegExp) => text.split('\n').filter((line) => ours.test(line))
  const rules = [...lines(tables, OURS), ...lines(chains, OUR_CHAIN)].map((line) => line.trim())
  return links.includes(`${BROKER_LINK}:`) ? [...rules, `link ${BROKER_LINK}`] : rules
}

/** Objects of pod2iam, of every kind that its chart may create; those in the test's own namespaces are left aside. */
async function objectsLeft({ access, options }: Context): Promise<string[]> {
  const left: string[] = []
  for (const { plural, group, kind, virtual } of RESOURCES) {
    if (virtual || kind === 'Event' || kind === 'Namespace') continue
    const items = await listed(access.kube.list(`${plural}${group === '' ? '' : `.${group}`}`))
    const ours = items.filter(({ metadata }) => isOurs(metadata, options))
    left.push(...ours.map(({ metadata }) => `${kind} ${metadata.namespace ?? ''}/${metadata.name}`))
  }
  return left
}

/** An older Kubernetes need not have every kind. */
async function listed(request: Promise<{ items: KubeObject[] }>): Promise<KubeObject[]> {
  try {
    return (await request).items
  } catch (error) {
    if (isApiError(error, 404)) return []
    throw error
  }
}

function isOurs(
  { name = '', namespace = '', labels = {} }: KubeObject['metadata'],
  options: Pick<Options, 'namespace' | 'release'>,
): boolean {
  if (namespace.startsWith(NAMESPACE_PREFIX)) return false
  const byLabel =
    labels['app.kubernetes.io/instance'] === options.release && labels['app.kubernetes.io/name'] === 'pod2iam'
  return byLabel || OURS.test(name)
}
