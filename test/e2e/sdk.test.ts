/** SDKs with their default chains and without configuration: they have the pod's identity in every mode of the metadata service, even during outages. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type Cluster, createCluster, IDLE_IMAGE } from '../sandbox/cluster.ts'
import { ADDRESSES, container, containerStatus, isReady, needsNamespaces } from '../sandbox/index.ts'
import { until } from '../support/until.ts'
import { get, IPV4, LIST, ROLE } from './pods.ts'
import { type Answer, type Client, PROGRAMS, startClient } from './sdk/clients.ts'

type Mode = {
  readonly pod: string
  readonly annotations?: Record<string, string>
  /** The version of IMDS with which the sidecar is asked. */
  readonly imds: 'v1' | 'v2'
  /** Its status for a request without a token. */
  readonly tokenless: number
}

const MODES: readonly Mode[] = [
  // No SDK can be configured to use IMDSv1, but all fall back to it when their PUT for a token fails.
  { pod: 'shop/v1', imds: 'v1', tokenless: 200 },
  { pod: 'shop/v2', imds: 'v2', tokenless: 200 },
  {
    pod: 'shop/required',
    annotations: { 'pod2iam.dev/imds-tokens': 'required' },
    imds: 'v2',
    tokenless: 401,
  },
]
const SIDECAR = 'pod2iam-sidecar'

/** Resets the pod's connections on which a packet begins with `PUT `. */
const CUT_TOKENS =
  'table inet no_tokens { chain out { type filter hook output priority 0; @ih,0,32 0x50555420 reject with tcp reset; }; }'

describe('SDKs in pods', needsNamespaces(), () => {
  let cluster: Cluster
  const clients = new Map<string, { client: Client; first: Answer }>()

  before(async () => {
    cluster = await createCluster({ injectorArgs: ['--base-role-arn=arn:aws:iam::111111111111:role/'] })
    await cluster.role('shop-orders')
    await cluster.namespace('shop', { allowed: ['shop-*'] })
    await Promise.all(MODES.map(start))
    const { code, stderr } = await cluster.exec(cluster.pods.network('shop/v1'), ['nft', CUT_TOKENS])
    assert.equal(code, 0, stderr)
  })
  after(async () => {
    await cluster?.close()
  })

  describe('in a running pod', () => {
    each('gets its credentials with IMDSv1, with IMDSv2 and where that is required', async (name, mode) => {
      const client = startClient(cluster, mode.pod, PROGRAMS[name] ?? assert.fail())
      const first = await client.answer()
      assertOwn(first, mode)
      clients.set(`${name} ${mode.pod}`, { client, first })
      await cluster.pods.waitForLog(mode.pod, SIDECAR, /"imds":"v\d"/)
      const asked = cluster.pods.logs(mode.pod, SIDECAR).match(/"imds":"v\d"/g)
      assert.deepEqual([...new Set(asked)], [`"imds":"${mode.imds}"`])
      const lifetime = Date.parse(first.expiration ?? '') - Date.now()
      // The lifetime of an hour began with the pod, before the first client.
      if (first.expiration !== undefined) assert.ok(lifetime > 1_800_000 && lifetime <= 3_600_000)
    })

    test('a request without a token is refused only where IMDSv2 is required', async () => {
      for (const { pod, tokenless } of MODES)
        assert.equal((await get(cluster, pod, `http://${IPV4}${LIST}`)).status, tokenless, pod)
    })
  })

  describe('after a restart of the sidecar', () => {
    before(async () => {
      await restartSidecars()
      await sidecarsReady()
    })
    each('gets the credentials of its pod again after a restart of the sidecar', async (name, mode) => {
      const { answer, first } = await ask(name, mode)
      assertOwn(answer, mode)
      assert.equal(answer.accessKeyId, first.accessKeyId)
    })
  })

  describe('while the broker hangs', () => {
    before(async () => {
      assert.ok(cluster.pods.kill(await cluster.guard(), 'broker', 'SIGSTOP'))
    })
    each('gets the credentials of its pod again while the broker hangs', async (name, mode) => {
      const { answer, first } = await ask(name, mode)
      assertOwn(answer, mode)
      assert.equal(answer.accessKeyId, first.accessKeyId)
    })
  })

  describe('while neither sidecar nor broker has credentials', () => {
    before(() => restartSidecars())
    each('gets no credentials while the sidecar has none', async (name, mode) => {
      const { answer } = await ask(name, mode)
      assert.ok(answer.error, `${name} was ${answer.arn}`)
    })
  })

  describe('once the broker is back', () => {
    before(async () => {
      await restart(await cluster.guard(), 'broker')
      await cluster.pods.waitFor(await cluster.guard(), isReady)
      await sidecarsReady()
    })
    each('gets new credentials of its pod once the broker is back', async (name, mode) => {
      const { answer, first } = await ask(name, mode)
      assertOwn(answer, mode)
      if (first.accessKeyId !== undefined) assert.notEqual(answer.accessKeyId, first.accessKeyId)
    })

    test('no pod has reached the real endpoint in any of these tests', async () => {
      const peers = Object.keys(await cluster.aws.imdsConnections())
      assert.deepEqual(
        peers.filter((peer) => !['10.0.0.10', 'fd00:10::10'].includes(peer)),
        [],
      )
    })
  })

  /** One test for each client, in all modes. The clients run one after another, since each gives up if an answer takes a second. */
  function each(what: string, action: (name: string, mode: Mode) => Promise<void>): void {
    for (const [name, { needs }] of Object.entries(PROGRAMS))
      test(`${name} ${what}`, needs, async () => {
        const results = await Promise.allSettled(MODES.map((mode) => action(name, mode)))
        for (const result of results) if (result.status === 'rejected') throw result.reason
      })
  }

  async function ask(name: string, { pod }: Mode): Promise<{ answer: Answer; first: Answer }> {
    const { client, first } = clients.get(`${name} ${pod}`) ?? assert.fail(`${name} never started in ${pod}`)
    return { answer: await client.ask(), first }
  }

  async function start({ pod, annotations }: Mode): Promise<void> {
    const env = {
      AWS_REGION: 'eu-west-1',
      AWS_DEFAULT_REGION: 'eu-west-1', // the only name that botocore knows
      AWS_ENDPOINT_URL_STS: `http://${ADDRESSES.vpc[0]}`,
    }
    await cluster.pod(pod, {
      annotations: { [ROLE]: 'shop-orders', ...annotations },
      containers: [
        {
          name: 'app',
          image: IDLE_IMAGE,
          env: Object.entries(env).map(([name, value]) => ({ name, value })),
        },
      ],
    })
    await cluster.pods.waitFor(pod, isReady)
  }

  const restartSidecars = () => Promise.all(MODES.map(({ pod }) => restart(pod, SIDECAR)))

  /** Kills a container and waits until it runs again. */
  async function restart(pod: string, name: string): Promise<void> {
    const before = containerStatus(await cluster.pods.get(pod), name)?.restartCount ?? 0
    assert.ok(cluster.pods.kill(pod, name))
    await cluster.pods.waitFor(
      pod,
      container(name, ({ restartCount, state }) => restartCount > before && 'running' in state),
    )
  }

  /** Waits until every sidecar reports that it has credentials. */
  async function sidecarsReady(): Promise<void> {
    for (const { pod } of MODES) {
      const isReady = async () => (await get(cluster, pod, 'http://127.0.0.1:9170/readyz')).status === 200
      await until(`credentials in ${pod}`, isReady, { detail: () => cluster.pods.logs(pod, SIDECAR) })
    }
  }
})

function assertOwn({ arn, error }: Answer, { pod }: Mode): void {
  const own = `arn:aws:sts::111111111111:assumed-role/shop-orders/${pod.replace('/', '.')}`
  assert.deepEqual({ arn, error }, { arn: own, error: undefined }, `in ${pod}: ${arn ?? error}`)
}
