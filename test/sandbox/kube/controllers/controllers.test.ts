import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../../../support/until.ts'
import { allow, configuration, register, testWebhook, unregister } from '../admission/test-webhook.ts'
import type { KubeObject } from '../client/client.ts'
import { namespace, testServer } from '../client/test-server.ts'
import { listAt, objectAt, stringAt } from '../objects/objects.ts'
import { isApiError } from '../objects/status.ts'

const server = testServer()
const admin = () => server().admin

const template = (name: string, more: object = {}) => ({
  metadata: { labels: { app: name }, annotations: { 'iam.amazonaws.com/role': 'reader' } },
  spec: { containers: [{ name: 'app', image: 'app:1' }], ...more },
})
const workload = (
  kind: string,
  name: string,
  ns: string,
  spec: object,
  podSpec: object = {},
): KubeObject => ({
  apiVersion: kind === 'Job' ? 'batch/v1' : 'apps/v1',
  kind,
  metadata: { name, namespace: ns },
  spec: {
    ...(kind === 'Job' ? {} : { selector: { matchLabels: { app: name } } }),
    template: template(name, podSpec),
    ...spec,
  },
})
const podsIn = async (ns: string) => (await admin().list('pods', { namespace: ns })).items
const names = (pods: readonly KubeObject[]) => pods.map(({ metadata }) => metadata.name)

async function setReady(pod: KubeObject, phase = 'Running') {
  const status = { phase, conditions: [{ type: 'Ready', status: phase === 'Running' ? 'True' : 'False' }] }
  await admin().patch(
    'pods',
    pod.metadata.name ?? '',
    pod.metadata.namespace,
    { status },
    { subresource: 'status' },
  )
}

async function finishDeletion(pod: KubeObject) {
  const { name = '', namespace } = pod.metadata
  await admin()
    .delete('pods', name, namespace, { gracePeriodSeconds: 0 })
    .catch((error: unknown) => {
      // The pod was not bound to a node, so it has been deleted already.
      if (!isApiError(error, 404)) throw error
    })
}

for (const name of ['n1', 'n2', 'tainted'])
  test(`(set-up) node ${name} is created`, async () => {
    const taints = name === 'tainted' ? [{ key: 'startup', effect: 'NoSchedule' }] : []
    await admin().create({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, labels: { 'kubernetes.io/hostname': name } },
      spec: { taints },
    })
  })

/** The node of a pod or, if the scheduler has not bound it yet, the only one on which it may run. */
function nodeOf(pod: KubeObject): unknown {
  const terms = listAt(
    pod,
    'spec',
    'affinity',
    'nodeAffinity',
    'requiredDuringSchedulingIgnoredDuringExecution',
    'nodeSelectorTerms',
  )
  const [only] = listAt(terms[0], 'matchFields')
  return objectAt(pod, 'spec').nodeName ?? (only?.values as unknown[] | undefined)?.[0]
}

/** What the scheduler does for a DaemonSet's pods if their controller does not. */
async function bindAll(pods: readonly KubeObject[]): Promise<void> {
  for (const pod of pods)
    if (objectAt(pod, 'spec').nodeName === undefined)
      await admin().bind(pod.metadata.namespace ?? '', pod.metadata.name ?? '', String(nodeOf(pod)))
}

test('a DaemonSet has one pod, like those of the real controller, on every node whose taints it tolerates', async () => {
  await admin().create(namespace('ds'))
  const set = await admin().create(workload('DaemonSet', 'agent', 'ds', {}))
  const pods = await eventually('two pods', async () => {
    const found = await podsIn('ds')
    return found.length === 2 && found.every((pod) => nodeOf(pod) !== undefined) && found
  })
  assert.deepEqual(pods.map(nodeOf).sort(), ['n1', 'n2'])
  const [pod] = pods
  assert.ok(pod !== undefined)
  assert.match(pod.metadata.name ?? '', /^agent-[a-z0-9]{5}$/)
  assert.equal(pod.metadata.annotations?.['iam.amazonaws.com/role'], 'reader')
  assert.deepEqual(Object.keys(pod.metadata.labels ?? {}).sort(), [
    'app',
    'controller-revision-hash',
    'pod-template-generation',
  ])
  assert.deepEqual(pod.metadata.ownerReferences, [
    {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      name: 'agent',
      uid: set.metadata.uid,
      controller: true,
      blockOwnerDeletion: true,
    },
  ])
  const creates = (await server().calls()).filter((call) => call.user.includes('daemon-set-controller'))
  assert.deepEqual(creates, [], 'controllers work inside the server, not over HTTP')
  await admin().patch('nodes', 'tainted', undefined, { spec: { taints: null } })
  await eventually('a pod on the node that lost its taint', async () => (await podsIn('ds')).length === 3)
  await bindAll(await podsIn('ds'))
  await Promise.all((await podsIn('ds')).map((one) => setReady(one)))
  await eventually(
    'its status',
    async () => objectAt(await admin().get('daemonsets', 'agent', 'ds'), 'status').numberReady === 3,
  )
})

test('a DaemonSet replaces a deleted pod when it is gone, and all pods one by one after a change of the template', async () => {
  const [first] = await podsIn('ds')
  assert.ok(first !== undefined)
  await admin().delete('pods', first.metadata.name ?? '', 'ds')
  await eventually(
    'it is terminating',
    async () => (await admin().get('pods', first.metadata.name ?? '', 'ds')).metadata.deletionTimestamp,
  )
  assert.equal((await podsIn('ds')).length, 3)
  await finishDeletion(first)
  const replacement = await eventually('the replacement', async () => {
    const found = await podsIn('ds')
    return (
      found.length === 3 &&
      found.find((pod) => !listAt(pod, 'status', 'conditions').some((c) => c.type === 'Ready'))
    )
  })
  await bindAll([replacement])
  await setReady(replacement)
  await admin().patch('daemonsets', 'agent', 'ds', {
    spec: { template: { metadata: { annotations: { version: '2' } } } },
  })
  const terminating = await eventually('one old pod goes', async () => {
    const found = (await podsIn('ds')).filter(({ metadata }) => metadata.deletionTimestamp !== undefined)
    return found.length > 0 && found
  })
  assert.equal(terminating.length, 1, 'maxUnavailable is 1')
})

test('deleting the DaemonSet deletes its pods', async () => {
  await admin().delete('daemonsets', 'agent', 'ds')
  await eventually('all pods are going', async () =>
    (await podsIn('ds')).every(({ metadata }) => metadata.deletionTimestamp !== undefined),
  )
  for (const pod of await podsIn('ds')) await finishDeletion(pod)
  await eventually('their end', async () => (await podsIn('ds')).length === 0)
})

/** New pods of a Deployment, and those with this hash. */
async function byHash(hash: string | undefined): Promise<[KubeObject[], KubeObject[]]> {
  const isOld = (pod: KubeObject) => pod.metadata.labels?.['pod-template-hash'] === hash
  const pods = await podsIn('deploy')
  return [pods.filter((pod) => !isOld(pod)), pods.filter(isOld)]
}

test('a Deployment creates pods through a ReplicaSet, replaces them, and its deletion deletes them', async () => {
  await admin().create(namespace('deploy'))
  await admin().create(workload('Deployment', 'web', 'deploy', { replicas: 2 }))
  const pods = await eventually('two pods', async () => {
    const found = await podsIn('deploy')
    return found.length === 2 && found
  })
  const [replicaSet] = (await admin().list('replicasets', { namespace: 'deploy' })).items
  const hash = replicaSet?.metadata.labels?.['pod-template-hash']
  assert.equal(replicaSet?.metadata.name, `web-${hash}`)
  for (const pod of pods) {
    assert.equal(pod.metadata.labels?.['pod-template-hash'], hash)
    assert.match(pod.metadata.name ?? '', new RegExp(`^web-${hash}-[a-z0-9]{5}$`))
    await setReady(pod)
  }
  await eventually(
    'its status',
    async () => objectAt(await admin().get('deployments', 'web', 'deploy'), 'status').readyReplicas === 2,
  )
  await admin().patch('deployments', 'web', 'deploy', {
    spec: { template: { metadata: { annotations: { v: '2' } } } },
  })
  // A quarter of two replicas is one: one new pod at a time, and one old pod is deleted for each new one that is ready.
  const fresh: KubeObject[] = []
  for (const left of [2, 1]) {
    const next = await eventually(`a new pod beside ${left} old ones`, async () => {
      const [news, olds] = await byHash(hash)
      const unready = news.filter((pod) => !names(fresh).includes(pod.metadata.name))
      return unready.length === 1 && olds.length === left && unready[0]
    })
    await setReady(next)
    fresh.push(next)
  }
  await eventually('only the new pods', async () =>
    (await podsIn('deploy')).every((pod) => names(fresh).includes(pod.metadata.name)),
  )
  await admin().delete('deployments', 'web', 'deploy')
  await eventually('nothing left', async () => {
    const sets = (await admin().list('replicasets', { namespace: 'deploy' })).items
    return sets.length === 0 && (await podsIn('deploy')).length === 0
  })
})

test('a refused pod causes a FailedCreate Event and a ReplicaFailure with the whole text, and is created once the webhook allows it', async () => {
  await admin().create(namespace('refused', { hook: 'refused' }))
  const hook = await testWebhook(server())
  try {
    const config = configuration('ValidatingWebhookConfiguration', 'refused', {
      url: hook.url,
      caBundle: hook.caBundle,
    })
    await register(server(), config)
    hook.reply({
      allowed: false,
      status: { code: 403, message: 'role "reader" is not allowed in namespace "refused"' },
    })
    await admin().create(workload('Deployment', 'web', 'refused', { replicas: 1 }))
    const text =
      'admission webhook "refused.pod2iam.dev" denied the request: role "reader" is not allowed in namespace "refused"'
    const event = await eventually('the Event', async () => {
      const { items } = await admin().list('events', {
        namespace: 'refused',
        fieldSelector: 'reason=FailedCreate',
      })
      return items[0]
    })
    assert.equal(event.message, `Error creating: ${text}`)
    assert.equal(stringAt(event, 'involvedObject', 'kind'), 'ReplicaSet')
    assert.equal(stringAt(event, 'source', 'component'), 'replicaset-controller')
    await eventually('the condition', async () => {
      const conditions = listAt(await admin().get('deployments', 'web', 'refused'), 'status', 'conditions')
      return conditions.find((c) => c.type === 'ReplicaFailure')?.message === text
    })
    assert.equal(
      objectAt({ u: hook.reviews[0]?.request.userInfo }, 'u').username,
      'system:serviceaccount:kube-system:replicaset-controller',
    )
    hook.reply(allow)
    await eventually('the pod', async () => (await podsIn('refused')).length === 1)
  } finally {
    await hook.close()
    await unregister(server(), 'validatingwebhookconfigurations', 'refused')
  }
})

test('a Job completes when its pod succeeds, and fails when too many have failed', async () => {
  await admin().create(namespace('jobs'))
  const never = { restartPolicy: 'Never' }
  await admin().create(workload('Job', 'good', 'jobs', {}, never))
  const pod = await eventually('its pod', async () => (await podsIn('jobs'))[0])
  assert.equal(pod.metadata.labels?.['job-name'], 'good')
  await setReady(pod, 'Succeeded')
  const conditionOf = async (name: string, type: string) =>
    listAt(await admin().get('jobs', name, 'jobs'), 'status', 'conditions').find((c) => c.type === type)
  await eventually('Complete', () => conditionOf('good', 'Complete'))
  await admin().create(workload('Job', 'bad', 'jobs', { backoffLimit: 1 }, never))
  for (let failed = 0; failed < 2; failed++) {
    const next = await eventually('a pod to fail', async () =>
      (await podsIn('jobs')).find(
        (p) => p.metadata.labels?.['job-name'] === 'bad' && stringAt(p, 'status', 'phase') === 'Pending',
      ),
    )
    await setReady(next, 'Failed')
  }
  const condition = await eventually('Failed', () => conditionOf('bad', 'Failed'))
  assert.equal(condition.reason, 'BackoffLimitExceeded')
})

test('a StatefulSet creates its pods one after another, and replaces a deleted one with a pod of the same name', async () => {
  await admin().create(namespace('sts'))
  await admin().create(workload('StatefulSet', 'db', 'sts', { replicas: 2, serviceName: 'db' }))
  const first = await eventually('db-0', () => admin().find('pods', 'db-0', 'sts'))
  assert.equal(await admin().find('pods', 'db-1', 'sts'), undefined)
  await setReady(first)
  await eventually('db-1', () => admin().find('pods', 'db-1', 'sts'))
  await admin().delete('pods', 'db-0', 'sts', { gracePeriodSeconds: 0 })
  const again = await eventually('db-0 again', () => admin().find('pods', 'db-0', 'sts'))
  assert.notEqual(again.metadata.uid, first.metadata.uid)
})
