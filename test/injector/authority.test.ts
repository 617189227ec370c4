/** The built-in authority against an API server: replicas, bundles, rotation, over real TLS. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { parse } from 'yaml'
import type { Kube } from '../../common/kube/client.ts'
import type { SentBody } from '../../injector/admission/webhook.ts'
import { authoritySecret } from '../../injector/certificates/authority-secret.ts'
import { type BuiltInAuthority, builtInAuthority } from '../../injector/certificates/built-in-authority.ts'
import { bundlePublisher } from '../../injector/certificates/ca-bundle.ts'
import { issueAuthority } from '../../injector/certificates/issue.ts'
import type { Leaf } from '../../injector/certificates/rotation.ts'
import { apiServer } from '../../injector/kubernetes/access.ts'
import { type WebhookServer, webhookServer } from '../../injector/server/https.ts'
import { ApiServer, type KubeObject } from '../sandbox/kube/client/client.ts'
import { silentLog } from '../support/log.ts'
import { until } from '../support/until.ts'
import type { Dict } from './fixtures.ts'

const FILES = new URL('../../charts/pod2iam/files/', import.meta.url)
const PLACE = 'pod2iam-system'
const SECRET = { namespace: PLACE, name: 'pod2iam-injector-ca' }
const CONFIGURATION = 'pod2iam-injector'
const NAMES = [`pod2iam-injector.${PLACE}.svc`]
/** Short enough that all phases lie within the five minutes by which certificates are backdated. */
const LIFETIMES = { authority: 180_000, leaf: 60_000, publishedFor: 10_000 }
const KINDS = ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations'] as const

type Replica = {
  readonly authority: BuiltInAuthority
  readonly leaves: Leaf[]
  readonly server: () => WebhookServer | undefined
}

describe('the built-in authority', () => {
  let directory: string
  let api: ApiServer
  let kube: Kube
  let replicas: Replica[] = []
  /** The replicas' clock stands still unless the test advances it, so that a slow machine does not cause a rotation. */
  let begun = 0
  let ahead = 0
  /** The number of webhooks in both shipped configurations. */
  let entries = 0

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'p2i-'))
    api = await ApiServer.start({ directory, controllers: false })
    kube = (await apiServer(await api.kubeconfig())).background
    await api.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: PLACE } })
  })
  after(async () => {
    await api?.stop()
    await rm(directory, { recursive: true, force: true })
  })
  beforeEach(async () => {
    begun = Date.now()
    ahead = 0
    entries = 0
    for (const file of ['webhooks.yaml', 'validating-webhooks.yaml']) {
      const configuration = parse(await readFile(new URL(file, FILES), 'utf8'))
      entries += configuration.webhooks.length
      await api.admin.apply(JSON.parse(JSON.stringify(configuration)))
    }
  })
  afterEach(async () => {
    for (const { authority } of replicas) authority.stop()
    await Promise.all(replicas.map(({ server }) => server()?.drain()))
    replicas = []
    for (const kind of KINDS) await api.admin.delete(kind, CONFIGURATION, undefined)
    if (await api.admin.find('secrets', SECRET.name, PLACE))
      await api.admin.delete('secrets', SECRET.name, PLACE)
  })

  /** A replica that reconciles only when the test says so; it allows every review. */
  function replica(): Replica {
    const leaves: Leaf[] = []
    let server: WebhookServer | undefined
    const allow = async (body: string | SentBody) => {
      const { uid } = JSON.parse(String(body)).request
      return {
        status: 200 as const,
        body: {
          apiVersion: 'admission.k8s.io/v1',
          kind: 'AdmissionReview',
          response: { uid, allowed: true },
        },
      }
    }
    const authority = builtInAuthority({
      secret: authoritySecret(kube, SECRET),
      publisher: bundlePublisher(kube, CONFIGURATION),
      names: NAMES,
      onLeaf: (leaf) => {
        leaves.push(leaf)
        if (leaves.length > 1) return server?.setCertificate(leaf)
        void webhookServer({ mutate: allow, validate: allow }, leaf, { port: 0, hostname: '127.0.0.1' }).then(
          (started) => {
            server = started
          },
        )
      },
      log: silentLog,
      now: () => begun + ahead,
      intervalMs: 3_600_000,
      lifetimes: LIFETIMES,
    })
    const made = { authority, leaves, server: () => server }
    replicas.push(made)
    return made
  }

  async function bundles(): Promise<string[]> {
    const configurations = await Promise.all(KINDS.map((kind) => api.admin.get(kind, CONFIGURATION)))
    const entries = configurations.flatMap(
      (one) => (one as unknown as { webhooks: { clientConfig: Dict }[] }).webhooks,
    )
    return entries.map(({ clientConfig }) =>
      Buffer.from(String(clientConfig.caBundle ?? ''), 'base64').toString('utf8'),
    )
  }
  const authorities = (pem: string) =>
    (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map(
      (one) => new X509Certificate(one),
    )
  const ready = (...all: Replica[]) => until(() => all.every(({ server }) => server() !== undefined))

  it('writes one bundle into every entry of both configurations, and signs with an authority in it', async () => {
    const one = replica()
    await ready(one)
    const [first, ...rest] = await bundles()
    assert.equal(rest.length, entries - 1)
    assert.ok(first && rest.every((bundle) => bundle === first))
    const [root] = authorities(first)
    const leaf = new X509Certificate(one.leaves[0]?.cert ?? '')
    assert.ok(root && leaf.verify(root.publicKey))
    assert.equal(one.authority.problem(), undefined)
  })

  it('is shared by replicas that start at the same time', async () => {
    const all = [replica(), replica(), replica()]
    await ready(...all)
    assert.equal(new Set(all.map(({ leaves }) => leaves.at(-1)?.authority)).size, 1)
    assert.equal(new Set(all.map(({ leaves }) => leaves.at(-1)?.cert)).size, 3)
    assert.deepEqual(
      (await bundles()).map((bundle) => authorities(bundle).length),
      Array(entries).fill(1),
    )
  })

  for (const isThere of [false, true])
    it(`is read again by one of two replicas that write at the same time, where the Secret was ${isThere ? 'empty' : 'missing'}`, async () => {
      if (isThere)
        await api.admin.create({ apiVersion: 'v1', kind: 'Secret', metadata: SECRET } as KubeObject)
      const [one, other] = [authoritySecret(kube, SECRET), authoritySecret(kube, SECRET)]
      const [seen, seenToo] = [await one.read(), await other.read()]
      const state = async () => ({ version: 1 as const, current: await issueAuthority(Date.now(), 60_000) })
      const written = await state()
      assert.equal(await one.write(seen, written), true)
      assert.equal(await other.write(seenToo, await state()), false)
      assert.deepEqual((await other.read()).state, written)
    })

  it('fills the empty Secret of the chart, and keeps its other keys', async () => {
    const data = { note: Buffer.from('x').toString('base64') }
    await api.admin.create({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: SECRET,
      data,
    } as unknown as KubeObject)
    await ready(replica())
    const secret = (await api.admin.get('secrets', SECRET.name, PLACE)) as unknown as { data: Dict }
    assert.deepEqual(Object.keys(secret.data).sort(), ['authority.json', 'note'])
  })

  it('restores a bundle that somebody overwrote or removed', async () => {
    const one = replica()
    await ready(one)
    const before = await bundles()
    const [mutating, validating] = KINDS
    const foreign = Buffer.from('x').toString('base64')
    await api.admin.patch(mutating, CONFIGURATION, undefined, [
      { op: 'replace', path: '/webhooks/1/clientConfig/caBundle', value: foreign },
    ])
    await api.admin.patch(validating, CONFIGURATION, undefined, [
      { op: 'remove', path: '/webhooks/0/clientConfig/caBundle' },
    ])
    await one.authority.reconcile()
    assert.equal(one.authority.inSync(), false)
    assert.deepEqual(await bundles(), before)
    await one.authority.reconcile()
    assert.equal(one.authority.inSync(), true)
    assert.equal(one.leaves.length, 1, 'no new leaf was needed')
  })

  it('is not ready while the configuration is missing, and says so', async () => {
    const [mutating] = KINDS
    await api.admin.delete(mutating, CONFIGURATION, undefined)
    const one = replica()
    await until(() => one.authority.problem() === 'the API server answers 404')
    assert.equal(one.leaves.length, 0)
    await api.admin.create(
      JSON.parse(JSON.stringify(parse(await readFile(new URL('webhooks.yaml', FILES), 'utf8')))),
    )
    await one.authority.reconcile()
    assert.equal(one.authority.problem(), undefined)
    await ready(one)
  })

  it('rotates the authority and the leaves of two replicas without losing an admission', async () => {
    const all = [replica(), replica()]
    await ready(...all)
    const meta = { name: 'pod2iam-injector', namespace: PLACE }
    const subsets = all.map(({ server }) => ({
      addresses: [{ ip: '127.0.0.1' }],
      ports: [{ port: server()?.port }],
    }))
    await api.admin.create({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: meta,
      spec: { ports: [{ port: 443, targetPort: 8443 }] },
    } as unknown as KubeObject)
    await api.admin.create({
      apiVersion: 'v1',
      kind: 'Endpoints',
      metadata: meta,
      subsets,
    } as unknown as KubeObject)
    await api.admin.create({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'rotation', labels: { 'pod2iam.dev/injection': 'all' } },
    })

    let admitted = 0
    let running = true
    const load = (async () => {
      while (running) {
        const spec = { containers: [{ name: 'app', image: 'x' }] }
        await api.admin.create({
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { generateName: 'p-', namespace: 'rotation' },
          spec,
        } as unknown as KubeObject)
        admitted++
      }
    })()
    const someMore = async () => {
      const goal = admitted + 10
      await until(() => admitted >= goal)
    }
    const bundleSizes: number[] = []
    try {
      // Created, published, promoted, removed; the replicas reconcile one after the other.
      for (const seconds of [0, 121, 125, 132, 150, 200, 205]) {
        ahead = seconds * 1000
        for (const { authority } of all) {
          await authority.reconcile()
          await Promise.race([someMore(), load])
        }
        bundleSizes.push(authorities((await bundles())[0] ?? '').length)
      }
    } finally {
      running = false
    }
    await load
    assert.deepEqual(bundleSizes, [1, 2, 2, 2, 2, 1, 1])
    const [first, last] = [all[0]?.leaves[0]?.authority, all[0]?.leaves.at(-1)?.authority]
    assert.notEqual(first, last)
    assert.equal(all[1]?.leaves.at(-1)?.authority, last)
    assert.ok(admitted > 100, `${admitted}`)
  })
})
