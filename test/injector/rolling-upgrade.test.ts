/**
 * Pods are created during a whole rolling upgrade and its rollback, for every setting that changes what is injected: two replicas
 * with different settings serve at the same time, so that one mutates a pod and the other one judges it.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { ACCOUNT_ROLE_KEY, KEYS } from '../../common/keys.ts'
import { INJECTOR, SYSTEM_NAMESPACE } from '../sandbox/install.ts'
import type { KubeObject } from '../sandbox/kube/client/client.ts'
import { until } from '../support/until.ts'
import {
  ACCOUNT,
  type Admissions,
  admissions,
  CANDIDATES,
  type Candidate,
  candidate,
  FORGED,
  SHOP,
  SHOP_NAMESPACE,
  tampered,
} from './admissions.ts'
import { IMAGES, ROLE } from './fixtures.ts'
import { CHANGES, OTHER_KEY } from './injected-settings.ts'
import { type Replica, type Rollout, rollout } from './replicas.ts'

/** The answers of each client while both replicas serve, so that each pod meets every pair of them many times. */
const EACH = 20
describe('a rolling upgrade and its rollback', () => {
  let cluster: Rollout
  let clients: Admissions
  let serving: Replica
  let all: readonly Candidate[]
  before(async () => {
    cluster = await rollout([KEYS.role, OTHER_KEY])
    await cluster.api.admin.create(SHOP_NAMESPACE as unknown as KubeObject)
    serving = await cluster.start()
    await serving.ready()
    all = [...CANDIDATES, ...(await tampered(cluster.api.admin))]
    clients = admissions(cluster.api.admin, all)
  })
  after(async () => {
    await clients?.end()
    await cluster?.close()
  })

  /** Adds a replica, and ends the old one when the new one is ready; `both` is created while both of them serve. */
  const replaceBy = async (
    flags: readonly string[],
    both?: readonly Candidate[],
    behind?: readonly Candidate[],
  ) => {
    const next = await cluster.start(flags)
    await next.ready()
    if (both !== undefined) clients.offer(both)
    await clients.more(EACH)
    if (behind !== undefined) clients.offer(behind)
    await clients.more(2)
    // The old replica answers the reviews that were on their way to it.
    await serving.stop(() => clients.more(2))
    serving = next
    await clients.more(4)
  }
  const nothingWrong = () => {
    const { asked, wrong } = clients.taken()
    assert.deepEqual(wrong, {}, `of ${asked}`)
    assert.ok(asked > 0)
  }

  for (const [what, flags] of Object.entries(CHANGES))
    for (const [way, next] of [['upgrade', flags] as const, ['rollback', []] as const])
      it(`no pod is refused or left alone: ${what}, ${way}`, async () => {
        await replaceBy(next)
        nothingWrong()
      })

  it('a pod on the host network is refused or left alone while replicas differ about it', async () => {
    const host = candidate(
      'a pod on the host network',
      { [KEYS.role]: ROLE },
      { hostNetwork: true },
      'refused or left alone',
    )
    clients.offer([...all, host])
    await replaceBy(['--host-network-annotated=warn'])
    await replaceBy([])
    nothingWrong()
  })

  it('a replica of an earlier release is logged, counted, and imitated in what is written', async () => {
    const old = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'old', namespace: SYSTEM_NAMESPACE, labels: await labelsOf(cluster, serving.name) },
      spec: {
        containers: [
          { name: 'injector', image: 'pod2iam/injector:0.1.0', args: [...IMAGES, '--redirect=env'] },
        ],
      },
    }
    await cluster.api.admin.create(old as unknown as KubeObject)
    await until(async () => (await serving.metric('pod2iam_injector_peers', 'kind="strict"')) === 1)
    const line = serving.log().find(({ replica }) => replica === 'old')
    assert.match(String(line?.msg), /^writes as an earlier release does while its replica is there/)
    assert.equal(line?.image, 'pod2iam/injector:0.1.0')
    const { pod } = candidate('', { [KEYS.role]: ROLE })
    const created = await cluster.api.admin.create(pod as unknown as KubeObject, { dryRun: true })
    assert.match(JSON.stringify(created), /--redirect=env/)
    await cluster.api.admin.delete('pods', 'old', SYSTEM_NAMESPACE, { gracePeriodSeconds: 0 })
    await until(async () => (await serving.metric('pod2iam_injector_peers', 'kind="strict"')) === 0)
    clients.taken()
  })

  it('no pod of a service account with a role is refused, but it may be left alone while replicas differ about such roles', async () => {
    const { admin } = cluster.api
    const metadata = { name: ACCOUNT, namespace: SHOP, annotations: { [ACCOUNT_ROLE_KEY]: ROLE } }
    await admin.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata } as KubeObject)
    await everyPodIsShown(cluster)
    const own = (expected: Candidate['expected']) =>
      candidate('a pod of an account with a role', {}, { serviceAccountName: ACCOUNT }, expected)
    const forged = candidate(
      'a forged sidecar',
      {},
      { serviceAccountName: ACCOUNT, initContainers: [FORGED] },
      'refused',
    )
    const others = [...all.slice(0, 3), forged]
    clients.offer([...others, own('injected or left alone')])
    clients.taken()
    await replaceBy(['--service-account-roles=true'], undefined, [...others, own('injected or left alone')])
    nothingWrong()
    // Replicas that have just ended count for a minute: a pod that they left alone is accepted, but no new one is left alone.
    clients.offer([...others, own('injected')])
    await clients.more(4)
    clients.taken()
    await clients.more(EACH)
    nothingWrong()
    clients.offer([...others, own('injected or left alone')])
    await clients.more(4)
    clients.taken()
    await replaceBy([])
    nothingWrong()
    clients.offer(all)
    await clients.more(4)
    clients.taken()
  })

  const first = candidate('a pod with the first key', { [KEYS.role]: ROLE })
  const second = candidate('a pod with the second key', { [OTHER_KEY]: ROLE })
  const both = candidate('a pod with both keys', { [KEYS.role]: ROLE, [OTHER_KEY]: ROLE })
  for (const [way, key, early, late] of [
    ['upgrade', OTHER_KEY, first, second],
    ['rollback', KEYS.role, second, first],
  ] as const)
    it(`no pod is refused or left alone: roleKey, with either key and with both, ${way}`, async () => {
      clients.offer([early, both])
      await clients.more(2)
      clients.taken()
      await replaceBy([`--role-key=${key}`], [early, both, late], [both, late])
      nothingWrong()
    })
})

/** What the chart does when the setting is on: the injector is called for every pod, and may read service accounts. */
async function everyPodIsShown({ api: { admin } }: Rollout) {
  for (const plural of ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations']) {
    const { webhooks } = (await admin.get(plural, INJECTOR)) as unknown as {
      webhooks: { matchConditions?: { name: string }[] }[]
    }
    for (const webhook of webhooks)
      if (webhook.matchConditions?.[0]?.name === 'asks-or-reserved-name') webhook.matchConditions = []
    await admin.patch(plural, INJECTOR, undefined, { webhooks })
  }
  const { rules } = (await admin.get('clusterroles', INJECTOR)) as unknown as { rules: object[] }
  const reading = { apiGroups: [''], resources: ['serviceaccounts'], verbs: ['get'] }
  await admin.patch('clusterroles', INJECTOR, undefined, { rules: [...rules, reading] })
}

async function labelsOf({ api }: Rollout, name: string) {
  return (await api.admin.get('pods', name, SYSTEM_NAMESPACE)).metadata.labels ?? {}
}
