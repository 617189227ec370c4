/** What the broker reads from the node's metadata service for pods, and with how many requests. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { systemClock } from '../../common/clock.ts'
import { imdsClient } from '../../node-guard/broker/instance/imds.ts'
import { partsOf, readPart, whyNotAllowable } from '../../node-guard/broker/instance/metadata.ts'
import { Aws } from '../sandbox/aws/client.ts'
import { service } from './metadata-service.ts'

const [LISTED] = partsOf([])

/** A metadata service that answers every path from a table, listings too. */
function answers(table: Record<string, string>) {
  const asked: string[] = []
  const get = async (path: string) => {
    asked.push(path)
    return table[path]
  }
  return { asked, close: () => {}, get }
}

const read = (imds: Parameters<typeof readPart>[0], part = LISTED) => readPart(imds, part ?? assert.fail())

describe('a reading', () => {
  test('has the values on the allow-list, and no other is requested', async () => {
    const nic = 'network/interfaces/macs/02:00:00:00:00:01'
    const expected = {
      hostname: 'ip-10-0-0-10.eu-west-1.compute.internal',
      'instance-id': 'i-1',
      'placement/region': 'eu-west-1',
      'placement/group-name': 'g 1',
      [`${nic}/vpc-id`]: 'vpc-1',
      [`${nic}/security-groups`]: 'one group\nanother',
      'network/interfaces/macs/02:00:00:00:00:02/subnet-id': 'subnet-2',
      'dynamic/instance-identity/document': '{}',
    }
    const imds = service({
      ...expected,
      'iam/info': '{}',
      'identity-credentials/ec2/info': '{}',
      'managed-ssh-keys/signer-cert': 'x',
      'public-keys/0/openssh-key': 'x',
      'spot/instance-action': '{}',
      'tags/instance/Name': 'x',
      [`${nic}/ipv4-prefix`]: '10.0.0.224/28',
      [`${nic}/of-the-future`]: 'x',
      'dynamic/instance-identity/signature': 'x',
    })
    assert.deepEqual(await read(imds), { values: expected, leftOut: [] })
    const never =
      /iam|user-data|signature|pkcs7|rsa2048|identity-credentials|ssh|public-keys|spot|tags|prefix|future/
    assert.deepEqual(
      imds.asked.filter((path) => never.test(path)),
      [],
    )
  })

  test('has only an interface’s own address, not those of the node’s pods', async () => {
    const path = 'network/interfaces/macs/02:00:00:00:00:01/local-ipv4s'
    const { values } = await read(service({ [path]: '10.0.0.10\n10.0.0.11\n10.0.0.12' }))
    assert.deepEqual(values, { [path]: '10.0.0.10' })
  })

  test('leaves out a value that is not of the kind EC2 has there, and says which', async () => {
    const strange = {
      'instance-id': 'i-1\r\nX-Injected: 1',
      'local-ipv4': 'ten',
      mac: '<script>',
      hostname: 'a\u0000b',
      'ami-launch-index': '-1',
      'security-groups': 'a\u0007b',
      'events/maintenance/scheduled': 'soon',
      'placement/region': 'x'.repeat(1025),
      'dynamic/instance-identity/document': '"text"',
    }
    const { values, leftOut } = await read(service({ ...strange, 'instance-type': 'm5.large' }))
    assert.deepEqual(values, { 'instance-type': 'm5.large' })
    assert.deepEqual(
      leftOut.map((path) => path.replace('meta-data/', '')).sort(),
      Object.keys(strange).sort(),
    )
  })

  test('removes a newline at the end of a value, and keeps an empty value', async () => {
    const leaves = { 'placement/availability-zone': 'eu-west-1b\n', 'public-hostname': '' }
    const { values } = await read(service(leaves))
    assert.deepEqual(values, { 'placement/availability-zone': 'eu-west-1b', 'public-hostname': '' })
  })

  test('requests the known paths if a metadata service has no listings', async () => {
    const { values } = await read(answers({ 'meta-data/hostname': 'h', 'meta-data/instance-id': 'i-1' }))
    assert.deepEqual(values, { hostname: 'h', 'instance-id': 'i-1' })
  })

  test('has at most 16 interfaces, the node’s own first, and 512 values', async () => {
    const mac = (n: number) => `02:00:00:00:00:${n.toString(16).padStart(2, '0')}`
    const interfaces = Array.from({ length: 64 }, (_, n) => [
      `network/interfaces/macs/${mac(n)}/vpc-id`,
      'vpc-1',
    ])
    const { values } = await read(service({ mac: mac(60), ...Object.fromEntries(interfaces) }))
    const vpcIds = Object.keys(values).filter((key) => key.endsWith('vpc-id'))
    assert.equal(vpcIds.length, 16)
    assert.ok(vpcIds.some((key) => key.includes(mac(60))))
    const many = Object.fromEntries(Array.from({ length: 2000 }, (_, n) => [`placement/p${n}`, 'x']))
    const { values: some, leftOut } = await read(service(many))
    assert.equal(Object.keys(some).length, 512)
    assert.ok(leftOut.length > 0)
  })

  test('of all parts together is smaller than a sidecar’s limit, whatever the metadata service answers', async () => {
    const text = '"'.repeat(16 * 1024)
    let bytes = 0
    for (const part of partsOf(['tags/instance/', 'spot/'])) {
      const endless = answers({})
      const imds = { ...endless, get: async (path: string) => (path.endsWith('/') ? listOf(300) : text) }
      bytes += Buffer.byteLength(JSON.stringify((await readPart(imds, part)).values))
    }
    assert.ok(bytes < 256 * 1024, `${bytes}`)
  })
  const listOf = (count: number) => Array.from({ length: count }, (_, n) => `name${n}`).join('\n')

  test('follows no listing out of its directory, and no endless listing', async () => {
    const imds = answers({
      'meta-data/': 'placement/',
      'meta-data/placement/': '../iam/info\n..\n../\n.\na/b\n%2e%2e\nloop/',
    })
    assert.deepEqual((await read(imds)).values, {})
    assert.ok(imds.asked.every((path) => !path.includes('..')))
    const [, , spot] = partsOf(['tags/', 'spot/'])
    const endless = { ...imds, get: async (path: string) => (path.endsWith('/') ? 'loop/\nx' : 'v') }
    assert.ok(Object.keys((await read(endless, spot)).values).length <= 8)
  })

  test('has no credentials or proofs of identity, even if their prefix were allowed', async () => {
    const imds = service({
      'iam/info': '{}',
      'user-data': 'x',
      'identity-credentials/ec2/info': '{}',
      'dynamic/x': 'y',
    })
    const [, allowed] = partsOf(['iam/', 'iam/info', 'user-data', 'identity-credentials/', 'dynamic/'])
    assert.deepEqual(await read(imds, allowed), { values: {}, leftOut: [] })
    assert.deepEqual(imds.asked, [])
  })

  test('has tags with values in any language and with every character that a key may have', async () => {
    const [, allowed] = partsOf(['tags/instance/'])
    const tags = {
      'tags/instance/Größe': 'x',
      'tags/instance/a,b+c=d._:@e': 'größer als 東京',
      'tags/instance/Name': 'n',
    }
    const { values } = await read(service(tags), allowed)
    assert.deepEqual(values, { 'tags/instance/a,b+c=d._:@e': 'größer als 東京', 'tags/instance/Name': 'n' })
  })

  test('ends after three failures, and keeps the values read before', async () => {
    const imds = service({ 'instance-id': 'i-1', hostname: 'h' })
    const away = {
      ...imds,
      get: (path: string) =>
        path === 'meta-data/' || path.endsWith('-id') ? imds.get(path) : Promise.reject(new Error('away')),
    }
    const { values, failure } = await read(away)
    assert.deepEqual(values, { 'instance-id': 'i-1' })
    assert.match(String(failure), /away/)
    let asked = 0
    const get = () => {
      asked++
      return Promise.reject(new Error('away'))
    }
    await read({ ...imds, get })
    assert.ok(asked <= 6, `${asked} requests to a metadata service that is away`)
  })
})

test('prefixes are allowed below meta-data/ only, and never those of credentials or proofs of identity', () => {
  for (const prefix of ['tags/instance/', 'spot/', 'events/', 'spot/instance-action'])
    assert.equal(whyNotAllowable(prefix), undefined)
  for (const prefix of [
    'iam',
    'iam/',
    'iam/info',
    '/iam/',
    'identity-credentials/ec2/',
    'user-data',
    'dynamic/',
    'api/token',
    '/',
    'a//b',
    '..',
    'a/../iam',
    'A',
  ])
    assert.equal(typeof whyNotAllowable(prefix), 'string', prefix)
})

describe('a reading of the node’s metadata service', () => {
  let aws: Aws
  before(async () => {
    aws = await Aws.start()
  })
  after(() => aws.stop())
  beforeEach(() => aws.reset())

  test('takes one token and one request per value and directory, none without result, over at most four connections', async () => {
    const imds = imdsClient(aws.imdsUrl, systemClock)
    const { values } = await read(imds)
    imds.close()
    const requests = await aws.imdsRequests()
    const directories = requests.filter(({ path }) => path.endsWith('/')).length
    assert.equal(requests.length, 1 + directories + Object.keys(values).length)
    assert.ok(requests.length <= 64, `${requests.length} requests`)
    assert.deepEqual(
      requests.filter(({ status }) => status !== 200),
      [],
    )
    assert.ok(Object.values(await aws.imdsConnections()).every((count) => count <= 4))
  })
})
