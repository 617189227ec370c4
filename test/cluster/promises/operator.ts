/** The operator's program on this cluster: what its commands say of clients that work, and of a workload that is refused. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readyPod, readyPods, refOf } from '../cluster-pods.ts'
import { type Context, namespaceOf } from '../context.ts'
import { CLIENT } from '../load.ts'
import { PROGRAM, placeOf, pod2iam } from '../operator-program.ts'
import { replicated } from '../pods.ts'
import { expect, type Group, until } from '../promise.ts'

const REFUSED = 'operator-refused'

type Step = { readonly state: string; readonly code?: string }

export const operator: Group = {
  title: 'The operator’s program',
  promises: [
    {
      name: 'status shows that the guard of every node has verified its block',
      leftOut,
      show: async (context) => {
        const { items } = await context.access.kube.list('nodes')
        type Node = {
          readonly node: string
          readonly source: string
          readonly verified: boolean
          readonly broker: string
        }
        const { data } = await pod2iam<{ nodes: readonly Node[] }>(context, 'status')
        expect(data.nodes.length === items.length, `${data.nodes.length} nodes of ${items.length}`)
        for (const { node, source, verified, broker } of data.nodes)
          expect(
            source === 'guard' && verified && broker === 'ready',
            `${node}: ${source}, ${verified}, ${broker}`,
          )
        return `${data.nodes.length} nodes`
      },
    },
    {
      name: 'check finds nothing wrong',
      leftOut,
      show: async (context) => {
        type Item = { readonly state: string; readonly code?: string; readonly detail: string }
        const { code, data } = await pod2iam<{ items: readonly Item[] }>(context, 'check')
        const wrong = data.items.filter(({ state }) => state === 'failed')
        expect(code === 0 && wrong.length === 0, wrong.map(({ detail }) => detail).join('; '))
        return `${data.items.length} items`
      },
    },
    {
      name: 'who shows for each client its role and credentials that have not expired',
      leftOut,
      show: async (context) => {
        const clients = await readyPods(context, CLIENT.place, CLIENT.app)
        type Holder = {
          readonly pod: string
          readonly role: string
          readonly session: string
          readonly expires: string
        }
        const { data } = await pod2iam<{ pods: readonly Holder[] }>(context, 'who', ...inPlace(context))
        for (const { metadata } of clients) {
          const holder = data.pods.find(({ pod }) => pod === metadata.name)
          expect(holder?.role === context.aws.role, `${metadata.name} has ${holder?.role}`)
          expect(Date.parse(holder.expires) > Date.now(), `${metadata.name}: expires ${holder.expires}`)
        }
        return `${clients.length} clients, ${data.pods.length} pods`
      },
    },
    {
      name: 'explain finds no fault with a client, and names the role as the first fault of a refused workload',
      leftOut,
      show: async (context) => {
        const { name } = refOf(await readyPod(context, CLIENT.place, CLIENT.app))
        const well = await explained(context, name)
        const faults = well.steps.filter(({ state }) => state === 'failed')
        expect(well.code === 0 && faults.length === 0, `${name}: ${JSON.stringify(faults)}`)
        const { access, aws, run } = context
        const workload = { app: REFUSED, place: CLIENT.place, role: aws.otherRole }
        await access.kube.create(replicated(run, 'Deployment', workload))
        try {
          return await until(context, 'the refusal in the words of explain', async () => {
            const { code, steps } = await explained(context, `deployment/${REFUSED}`)
            const fault = steps.find(({ state }) => state === 'failed')
            return (
              code === 1 && fault?.code === 'role-not-allowed' && `${well.steps.length} steps; ${fault.code}`
            )
          })
        } finally {
          await access.kube.delete('deployments', REFUSED, namespaceOf(run, CLIENT.place))
        }
      },
    },
    {
      name: 'dashboard shows every node and every client, but not to pages of other origins',
      leftOut,
      show: async (context) => {
        const { items } = await context.access.kube.list('nodes')
        const clients = await readyPods(context, CLIENT.place, CLIENT.app)
        const names = [...items, ...clients].map(({ metadata }) => metadata.name ?? '')
        const { url, end } = await dashboard(context)
        try {
          await until(context, 'nodes and clients on the page', async () => {
            const page = await (await fetch(url)).text()
            return names.every((name) => page.includes(name))
          })
          const foreign = await fetch(url, { headers: { origin: 'http://example.com' } })
          expect(foreign.status === 403, `a page of others gets ${foreign.status}`)
        } finally {
          await end()
        }
        return `${items.length} nodes, ${clients.length} clients`
      },
    },
  ],
}

function leftOut({ options }: Pick<Context, 'options'>): string | undefined {
  return options.dry ? 'test/cli shows it in the sandbox' : undefined
}

const inPlace = ({ run }: Context) => ['--namespace', namespaceOf(run, CLIENT.place)]

async function explained(context: Context, target: string) {
  type Document = { readonly explanations: readonly { readonly steps: readonly Step[] }[] }
  const { code, data } = await pod2iam<Document>(context, 'explain', target, ...inPlace(context))
  return { code, steps: data.explanations.flatMap(({ steps }) => steps) }
}

/** Serves the page until `end` is called. */
async function dashboard({ options }: Context): Promise<{ url: string; end: () => Promise<unknown> }> {
  const child = spawn(process.execPath, [PROGRAM, 'dashboard', ...placeOf(options), '--output', 'json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'close')
  const [line] = await Promise.race([once(child.stdout, 'data'), ended])
  return {
    url: JSON.parse(String(line)).url,
    end: () => {
      child.kill('SIGTERM')
      return ended
    },
  }
}
