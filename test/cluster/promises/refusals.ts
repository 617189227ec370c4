/** No pod gets the node role, another pod's role, or a role its namespace may not use. */
import { TOKEN_AUDIENCE } from '../../../common/addresses.ts'
import { isApiError } from '../../sandbox/kube/objects/status.ts'
import { BROKER, codeOf, expectCode, got, tokenOf } from '../ask-broker.ts'
import { type LivePod, readyPod, readyPods, refOf } from '../cluster-pods.ts'
import { type Context, namespaceOf } from '../context.ts'
import { CLIENT, expectClosed, probers } from '../load.ts'
import { ALLOWED, podObject, ROLE, type Workload } from '../pods.ts'
import { expect, type Group, until } from '../promise.ts'

const METADATA = 'http://169.254.169.254/latest/meta-data/'

export const refusals: Group = {
  title: 'Refusals',
  promises: [
    {
      name: 'a pod without a role is refused at the metadata endpoint',
      show: async (context) => expectClosed(context, await probers(context)),
    },
    {
      name: 'an annotation in a namespace that is not opted in has no effect',
      show: async (context) => {
        await make(context, { app: 'not-opted-in', place: 'plain', role: context.aws.role })
        const pod = await readyPod(context, 'plain', 'not-opted-in')
        const { status, error } = await got(context, pod, METADATA)
        expect(status === 0, `it was answered ${status}`)
        return error ?? ''
      },
    },
    {
      name: 'a role that its namespace may not use is refused at admission',
      show: (context) =>
        refused(
          context,
          { app: 'forbidden', place: 'shop', role: context.aws.otherRole },
          /may not use role/,
        ),
    },
    {
      name: 'a role of another namespace is refused at admission',
      show: (context) =>
        refused(context, { app: 'neighbour', place: 'billing', role: context.aws.role }, /may not use role/),
    },
    {
      name: 'a role on the host network is refused at admission',
      show: ({ aws, ...context }) => {
        const spec = { hostNetwork: true }
        return refused(
          { aws, ...context },
          { app: 'host', place: 'shop', role: aws.role, spec },
          /host ?network/i,
        )
      },
    },
    {
      name: 'the role of a running pod cannot be changed',
      show: async (context) => {
        const { namespace, name } = refOf(await client(context))
        const patch = { metadata: { annotations: { [ROLE]: context.aws.otherRole } } }
        return refusal(context.access.kube.patch('pods', name, namespace, patch), /cannot be changed/)
      },
    },
    {
      name: 'a token is refused when another pod uses it',
      show: async (context) => {
        const victim = await client(context)
        const token = await tokenOf(context, victim)
        const own = await got(context, victim, BROKER, token)
        expect(own.status === 200, `its own pod is answered ${own.status} ${codeOf(own)}`)
        const { nodeName = '' } = victim.spec
        await make(context, {
          app: 'thief',
          place: 'shop',
          spec: { nodeName, tolerations: [{ operator: 'Exists' }] },
        })
        const stolen = await got(context, await readyPod(context, 'shop', 'thief'), BROKER, token)
        return expectCode(stolen, 403, 'peer-address-mismatch')
      },
    },
    {
      name: 'a token that is bound to no pod is refused',
      show: async (context) => {
        const how = { audiences: [TOKEN_AUDIENCE] }
        const { token } = await context.access.kube.createToken(
          namespaceOf(context.run, 'shop'),
          'default',
          how,
        )
        return expectCode(await got(context, await client(context), BROKER, token), 401, 'token-invalid')
      },
    },
    { name: 'the broker refuses a role that its namespace may no longer use', show: withdrawn },
  ],
}

async function withdrawn(context: Context): Promise<string> {
  const { access, run, aws } = context
  const allow = (roles: readonly string[]) => {
    const annotations = { [ALLOWED]: JSON.stringify(roles) }
    return access.kube.patch('namespaces', namespaceOf(run, 'every'), undefined, {
      metadata: { annotations },
    })
  }
  await make(context, { app: 'withdrawn', place: 'every' })
  const pod = await readyPod(context, 'every', 'withdrawn')
  const token = await tokenOf(context, pod)
  await allow([])
  try {
    return await until(context, 'the refusal', async () =>
      expectCode(await got(context, pod, BROKER, token), 403, 'role-not-allowed'),
    )
  } finally {
    await allow([aws.role])
  }
}

async function make({ access, run }: Context, workload: Workload): Promise<void> {
  await access.kube.create(podObject(run, workload))
}

function refused({ access, run }: Context, workload: Workload, why: RegExp): Promise<string> {
  return refusal(access.kube.create(podObject(run, workload)), why)
}

/** The sentence with which the API server refuses; the promise is broken when it accepts, or refuses for another reason. */
export async function refusal(request: Promise<unknown>, why: RegExp): Promise<string> {
  try {
    await request
  } catch (error) {
    if (isApiError(error) && why.test(error.message))
      return error.message.replace(/^.*?denied the request: /s, '')
    throw error
  }
  throw new Error('it was accepted')
}

async function client(context: Context): Promise<LivePod> {
  const [pod] = await readyPods(context, CLIENT.place, CLIENT.app)
  if (pod === undefined) throw new Error('there is no client')
  return pod
}
