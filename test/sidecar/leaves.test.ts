/**
 * A sidecar serves exactly the leaves that docs/metadata.md says: a node's metadata service is read by the broker's own
 * code, passed to the built sidecar, and requested over HTTP.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { systemClock } from '../../common/clock.ts'
import { lineLogger } from '../../common/log.ts'
import { imdsClient } from '../../node-guard/broker/instance/imds.ts'
import { LEAVES } from '../../node-guard/broker/instance/leaves.ts'
import { metadataSnapshot } from '../../node-guard/broker/instance/snapshot.ts'
import { readPage } from '../docs/markdown.ts'
import { Aws } from '../sandbox/aws/client.ts'
import { CLIENTS } from './support/clients.ts'
import {
  ask,
  credentialsBody,
  json,
  loopbackEnv,
  METADATA,
  openWorkshop,
  type SidecarProcess,
  startBroker,
  startProcess,
  type TestBroker,
  type Workshop,
} from './support/index.ts'
import { freshToken } from './support/table.ts'

type Served = 'yes' | 'own' | 'on request' | 'no'
const SERVED: readonly string[] = ['yes', 'own', 'on request', 'no'] satisfies Served[]

/** The page's rows: pattern of a path below `/latest/` → whether it is served. */
const ROWS = new Map(
  [...readPage('docs/metadata.md').prose.matchAll(/^\| (`.+?`) \| ([^|]+) \| [^|]+ \| [^|]+ \|$/gm)].flatMap(
    ([, leaves = '', served = '']) =>
      [...leaves.matchAll(/`([^`]+)`/g)].map(([, leaf = '']) => [pathOf(leaf), served] as const),
  ),
)

function pathOf(leaf: string): string {
  return /^(?:dynamic\/|user-data$)/.test(leaf) ? leaf : `meta-data/${leaf}`
}

const fits = (pattern: string, path: string) =>
  new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '[^/]+')}$`).test(path)

/** Whether the page says that a path is served. Throws if it does not have exactly one row for it. */
function said(path: string): Served {
  const rows = [...ROWS].filter(([pattern]) => fits(pattern, path)).map(([, served]) => served)
  const [served = ''] = rows
  if (rows.length !== 1 || !SERVED.includes(served))
    throw new Error(`docs/metadata.md says of ${path}: ${rows}`)
  return served as Served
}

const NIC = 'meta-data/network/interfaces/macs/02:29:96:8f:6a:2d'
/** Leaves that the sandbox's ordinary node does not have. */
const RARE = {
  'meta-data/ancestor-ami-ids': 'ami-1\nami-2',
  'meta-data/elastic-gpus/associations/egpu-1': '{}',
  'meta-data/elastic-inference/associations/eia-1': '{}',
  'meta-data/events/recommendations/rebalance': '{"noticeTime": "2026-11-29T08:22:00Z"}',
  'meta-data/ipv6': 'fd00:1::10',
  'meta-data/kernel-id': 'aki-5c21674b',
  'meta-data/placement/group-name': 'a group',
  'meta-data/placement/partition-number': '1',
  'meta-data/product-codes': '3iplms73etrdhxdepv72l6ywj',
  'meta-data/ramdisk-id': 'ari-01bb5768',
  'meta-data/spot/instance-action': '{"action": "terminate", "time": "2026-11-29T08:22:00Z"}',
  'meta-data/spot/termination-time': '2026-11-29T08:22:00Z',
  [`${NIC}/ipv6-prefix`]: 'fd00:1:0:0:1::/80',
  [`${NIC}/ipv6s`]: 'fd00:1::10',
  [`${NIC}/network-card`]: '0',
  [`${NIC}/network-card-index`]: '0',
  [`${NIC}/subnet-ipv6-cidr-blocks`]: 'fd00:1::/64',
  [`${NIC}/vpc-ipv6-cidr-blocks`]: 'fd00:1::/56',
}
const REQUESTED = [
  'autoscaling/',
  'elastic-gpus/',
  'elastic-inference/',
  'events/',
  'managed-ssh-keys/',
  'network/',
  'public-keys/0/openssh-key',
  'spot/',
  'tags/instance/',
]
const PAGE_LENGTH = 339

describe('instance metadata', () => {
  let aws: Aws
  let workshop: Workshop
  const brokers: TestBroker[] = []
  const sidecars: SidecarProcess[] = []
  /** Path below `/latest/` → text, for every leaf of the node's metadata service. */
  let node: ReadonlyMap<string, string>
  let sidecar: SidecarProcess

  before(async () => {
    ;[aws, workshop] = await Promise.all([Aws.start(), openWorkshop()])
    await aws.setImds({ instanceTags: { Name: 'node', team: 'shop' }, override: RARE })
    node = await crawl(aws.imdsUrl, '')
    sidecar = await sidecarOf([])
  })
  after(async () => {
    await Promise.all(sidecars.map((one) => one.end('SIGKILL')))
    await Promise.all(brokers.map((one) => one.close()))
    workshop?.remove()
    await aws?.stop()
  })

  async function sidecarTold(body: object): Promise<SidecarProcess> {
    const broker = await startBroker()
    brokers.push(broker)
    broker.metadata = json(body)
    broker.credentials = json(credentialsBody({ Role: 'reader' }))
    const started = await startProcess(workshop, loopbackEnv(workshop, broker.url), { ready: true })
    sidecars.push(started)
    return started
  }

  /** A sidecar with the metadata that a broker with `--metadata-allow` reads. */
  async function sidecarOf(allowed: readonly string[]): Promise<SidecarProcess> {
    const stopping = new AbortController()
    const imds = imdsClient(aws.imdsUrl, systemClock)
    const log = lineLogger('test', 'warn', (line) => assert.fail(line))
    const by = { clock: systemClock, log, signal: stopping.signal }
    const { current, firstRead } = metadataSnapshot(imds, { allowed, region: undefined }, by)
    await firstRead
    stopping.abort()
    imds.close()
    return sidecarTold(current())
  }

  /** The text that a sidecar should serve for a leaf of the node. */
  const textOf = (path: string, text = node.get(path)) =>
    path.endsWith('/local-ipv4s') ? text?.split('\n')[0] : text
  const leaves = (served: Served) => [...node.keys()].filter((path) => said(path) === served)

  test('the page has one row for every leaf of an instance, and an instance of the sandbox has a leaf for every row', () => {
    for (const path of node.keys()) said(path)
    const idle = [...ROWS.keys()].filter((pattern) => ![...node.keys()].some((path) => fits(pattern, path)))
    assert.deepEqual(idle, ['meta-data/iam/security-credentials-extended/*'])
  })

  test('the page and the broker have the same list of leaves', () => {
    const yes = [...ROWS].filter(([, served]) => served === 'yes').map(([pattern]) => pattern)
    assert.deepEqual(yes.sort(), Object.keys(LEAVES).sort())
  })

  test('each served leaf has the node’s text, with and without a slash, by IMDSv1 and IMDSv2, and its length for HEAD', async () => {
    const headers = { 'X-aws-ec2-metadata-token': await freshToken(sidecar.port) }
    for (const leaf of leaves('yes')) {
      const path = `/latest/${leaf}`
      const answer = await ask(sidecar.port, { path })
      assert.deepEqual([answer.status, answer.body], [200, textOf(leaf)], leaf)
      assert.equal(answer.headers.get('content-type'), 'text/plain')
      assert.equal((await ask(sidecar.port, { path: `${path}/`, headers })).body, answer.body, leaf)
      const head = await ask(sidecar.port, { method: 'HEAD', path, headers })
      assert.deepEqual(
        [head.status, head.headers.get('content-length')],
        [200, `${answer.body.length}`],
        leaf,
      )
    }
  })

  test('each leaf that is not served is a 404 with EC2’s page, and so is its directory', async () => {
    for (const leaf of [...leaves('no'), ...leaves('on request')])
      for (const path of [`/latest/${leaf}`, `/latest/${leaf}/`]) {
        const answer = await ask(sidecar.port, { path })
        assert.deepEqual([answer.status, answer.body.length], [404, PAGE_LENGTH], path)
        assert.equal(answer.headers.get('content-type'), 'text/html')
      }
    for (const directory of [
      'spot',
      'tags',
      'tags/instance',
      'autoscaling',
      'public-keys',
      'events/recommendations',
    ])
      assert.equal(
        (await ask(sidecar.port, { path: `/latest/meta-data/${directory}/` })).status,
        404,
        directory,
      )
  })

  test('the listings lead to all served leaves and to no other', async () => {
    const found = await crawl(`http://127.0.0.1:${sidecar.port}/`, '')
    const own = [...found.keys()].filter((path) => said(path) === 'own')
    assert.deepEqual(own, ['meta-data/iam/info', 'meta-data/iam/security-credentials/reader'])
    const others = [...found.keys()].filter((path) => said(path) !== 'own')
    assert.deepEqual(others.sort(), leaves('yes').sort())
  })

  test('no served leaf has the node’s own role, user data or signatures', async () => {
    const secret = [...leaves('no'), ...leaves('own')].map((path) => node.get(path) ?? assert.fail(path))
    const all = [...(await crawl(`http://127.0.0.1:${sidecar.port}/`, '')).values()].join('\n')
    for (const text of secret) assert.ok(!all.includes(text), text)
  })

  test('leaves on request are served if they are allowed, and leaves that are never served are not', async () => {
    const all = await sidecarOf([...REQUESTED])
    for (const leaf of leaves('on request')) {
      const { status, body } = await ask(all.port, { path: `/latest/${leaf}` })
      assert.deepEqual([status, body], [200, node.get(leaf)], leaf)
    }
    for (const leaf of leaves('no'))
      assert.equal((await ask(all.port, { path: `/latest/${leaf}` })).status, 404, leaf)
    const list = `/latest/${NIC}/local-ipv4s`
    assert.equal((await ask(all.port, { path: list })).body, textOf(list.slice('/latest/'.length)))
  })

  test('leaves that an older broker does not send are a 404, and the others are listed', async () => {
    const old = await sidecarTold(METADATA)
    assert.equal((await ask(old.port, { path: '/latest/meta-data/hostname' })).status, 404)
    const listing = (await ask(old.port, { path: '/latest/meta-data/' })).body.split('\n')
    assert.ok(!listing.includes('hostname') && listing.includes('instance-id'))
  })

  describe('in the requests of programs', () => {
    for (const { client, paths, absent = [] } of CLIENTS)
      test(`${client} finds what it reads`, async () => {
        const headers = { 'X-aws-ec2-metadata-token': await freshToken(sidecar.port, 60) }
        for (const path of paths) {
          const { status, body } = await ask(sidecar.port, { path: `/latest/${path}`, headers })
          assert.deepEqual([path, status], [path, 200])
          assert.notEqual(body, '', path)
        }
        for (const path of absent)
          assert.equal((await ask(sidecar.port, { path: `/latest/${path}`, headers })).status, 404, path)
      })
  })
})

/** All leaves that the listings of a metadata service lead to. */
async function crawl(base: string, directory: string): Promise<Map<string, string>> {
  const get = async (path: string) => {
    const answer = await fetch(`${base}latest/${path}`)
    assert.equal(answer.status, 200, path)
    return answer.text()
  }
  const found = new Map<string, string>()
  for (const name of (await get(directory)).split('\n')) {
    // The root lists its directories without a slash, and public keys are listed by number and name.
    const path = directory + name.replace(/^(\d+)=.*$/, '$1/openssh-key')
    const isDirectory = name.endsWith('/') || (directory === '' && name !== 'user-data')
    if (!isDirectory) found.set(path, await get(path))
    else for (const [leaf, text] of await crawl(base, path.replace(/\/?$/, '/'))) found.set(leaf, text)
  }
  return found
}
