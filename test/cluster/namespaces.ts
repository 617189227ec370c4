/** The namespaces of a run, and the right to pull images in them. */
import type { KubeObject } from '../sandbox/kube/objects/objects.ts'
import { type Context, namespaceOf, type Place, PULL_SECRET } from './context.ts'
import { ALLOWED, labelsOf, namespaceObject } from './pods.ts'
import { until } from './promise.ts'

/** Name of the role that trusts service accounts of a namespace, and not the node role (promises/identities.ts). */
export const FEDERATED = 'federated'

type World = Pick<Context, 'access' | 'options' | 'run' | 'signal'>

/** Creates a namespace; with `--pull-secret`, its default service account pulls with a copy of that Secret. */
export async function makeNamespace(world: World, object: KubeObject): Promise<void> {
  const { kube } = world.access
  await kube.create(object)
  const { pullSecret } = world.options
  if (pullSecret === undefined) return
  const [namespace = '', name = ''] = pullSecret.split('/')
  const { type, data } = await kube.get('secrets', name, namespace)
  const here = object.metadata.name ?? ''
  const metadata = { name: PULL_SECRET, namespace: here, labels: labelsOf(world.run) }
  await kube.create({ apiVersion: 'v1', kind: 'Secret', metadata, type, data })
  // A controller creates the service account a moment after the namespace.
  await until(world, `the default service account of ${here}`, () =>
    kube.find('serviceaccounts', 'default', here),
  )
  await kube.patch('serviceaccounts', 'default', here, { imagePullSecrets: [{ name: PULL_SECRET }] })
}

/** The namespaces that the promises use. */
export function namespacesOf({ run, options, aws }: Pick<Context, 'run' | 'options' | 'aws'>): KubeObject[] {
  const allowed = (role: string) => ({ [ALLOWED]: JSON.stringify([role]) })
  const place = (where: Place) => namespaceOf(run, where)
  const enabled = { injection: 'enabled', annotations: allowed(aws.role) } as const
  return [
    ...(options.installed ? [] : [namespaceObject(run, options.namespace)]),
    namespaceObject(run, place('shop'), enabled),
    namespaceObject(run, place('strict'), { ...enabled, security: 'restricted' }),
    namespaceObject(run, place('billing'), { injection: 'enabled', annotations: allowed(aws.otherRole) }),
    namespaceObject(run, place('every'), {
      injection: 'all',
      annotations: { ...allowed(aws.role), 'iam.amazonaws.com/default-role': aws.role },
    }),
    namespaceObject(run, place('federated'), {
      injection: 'enabled',
      annotations: {
        ...allowed(`${aws.baseRoleArn}${FEDERATED}`),
        'pod2iam.dev/credential-source': 'web-identity',
      },
    }),
    namespaceObject(run, place('plain')),
  ]
}
