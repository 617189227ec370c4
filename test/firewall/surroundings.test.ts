/** What the guard finds on its node: leftovers, dataplanes, and the options of the metadata service. */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { after, afterEach, before, describe, test } from 'node:test'
import { whyUnguarded } from '../../common/firewall-state.ts'
import { IMDS_PROBE_TABLE, readImdsOptions } from '../../node-guard/firewall/node/imds-options.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { until } from '../support/until.ts'
import { ADMIN_AND_RAW, type GuardProcess, startGuard } from './guard-process.ts'
import { MAIN, openNode, type TestNode } from './node.ts'

type Json = {
  verified: boolean
  leftovers: { kind: string; rule: string; remove: string }[]
  warnings: { code: string; detail: string }[]
}

/** A server that answers like EC2: a token for PUT, and GET without one as the instance's options say. Prints the requests. */
const METADATA_SERVICE = `
require('node:http').createServer((request, response) => {
  console.log(request.method, request.url, request.headers['x-aws-ec2-metadata-token'] ?? '-')
  const status = request.method === 'PUT' ? 200 : Number(process.argv[1])
  response.writeHead(status, { Server: 'EC2ws' }).end('a-token-or-a-listing')
}).listen(80, '::', () => console.log('up'))`

describe('the guard on its node', needsNamespaces(), () => {
  let node: TestNode
  let guard: GuardProcess | undefined
  let service: ChildProcess | undefined
  before(async () => {
    node = await openNode()
  })
  after(() => node?.close())
  afterEach(async () => {
    await guard?.end('SIGKILL')
    guard = undefined
    const ended = new Promise((resolve) => service?.once('exit', resolve))
    if (service?.kill('SIGKILL')) await ended
    service = undefined
    await node.run('node', ['nft', 'flush ruleset'])
    for (const kind of ['iptables-legacy', 'ip6tables-legacy'])
      await node.run('node', [kind, '-t', 'nat', '-F'])
    await node.run('node', ['ip', 'link', 'delete', 'cilium_host'])
    await node.must('aws', ['sh', '-c', 'echo 64 >/proc/sys/net/ipv4/ip_default_ttl'])
  })

  const start = async (flags: string[] = [], wrapper?: readonly string[]) => {
    guard = await startGuard(node, ['--poll-interval=100ms', ...flags], wrapper)
    return guard
  }
  const status = async (): Promise<Json> =>
    JSON.parse((await node.run('node', [process.execPath, MAIN, 'status', '--json'])).stdout)
  const warned = async (code: string) =>
    (await status()).warnings.find((warning) => warning.code === code)?.detail
  const serveMetadata = async (version1: 200 | 401 | 403, hopLimit: number) => {
    await node.must('aws', ['sh', '-c', `echo ${hopLimit} >/proc/sys/net/ipv4/ip_default_ttl`])
    const child = node.spawn('aws', [process.execPath, '-e', METADATA_SERVICE, String(version1)])
    service = child
    const asked: string[] = []
    if (child.stdout) createInterface({ input: child.stdout }).on('line', (line) => asked.push(line))
    await until('it serves', () => asked.shift() === 'up')
    return asked
  }

  test('finds rules of kube2iam and kiam in both variants of iptables, and shows a command that removes each', async () => {
    const add = (kind: string, rest: string) => node.must('node', `${kind} -t nat ${rest}`.split(' '))
    await add(
      'iptables-nft',
      '-A PREROUTING -p tcp -d 169.254.169.254 --dport 80 -j DNAT --to-destination 10.0.0.10:8181 -i docker0',
    )
    await add(
      'iptables-legacy',
      '-A PREROUTING -p tcp -d 169.254.169.254 --dport 80 -j DNAT --to-destination 10.0.0.10:8181 ! -i eth0',
    )
    await add(
      'ip6tables-nft',
      '-A PREROUTING -p tcp -d fd00:ec2::254 --dport 80 -j DNAT --to-destination [fd00:10::10]:8181',
    )
    await add(
      'iptables-nft',
      '-A PREROUTING -p tcp -d 169.254.169.253 --dport 80 -j DNAT --to-destination 10.0.0.10:8181',
    )
    await (await start([], ADMIN_AND_RAW)).becomes('ready')
    await until('the rules are found', async () => (await status()).leftovers.length > 0)
    const { leftovers } = await status()
    assert.deepEqual(leftovers.map(({ kind }) => kind).sort(), [
      'kiam',
      'kube2iam-or-kiam',
      'kube2iam-or-kiam',
    ])
    assert.equal(await guard?.metric('leftover_rules'), 3)
    await until('they are logged', () =>
      Boolean(guard?.logs.some(({ msg }) => msg === 'rules of kube2iam or kiam found')),
    )
    for (const { remove } of leftovers) await node.must('node', ['sh', '-c', remove])
    await guard?.end('SIGTERM')
    await (await start([], ADMIN_AND_RAW)).becomes('ready')
    assert.deepEqual((await status()).leftovers, [])
    assert.match(await node.must('node', ['iptables-nft-save', '-t', 'nat']), /-d 169\.254\.169\.253\/32/)
  })

  test('reports that it cannot read the tables of iptables-legacy without NET_RAW', async () => {
    await node.must(
      'node',
      'iptables-legacy -t nat -A PREROUTING -p tcp -d 169.254.169.254 -j DNAT --to-destination 10.0.0.10:8181'.split(
        ' ',
      ),
    )
    await (await start()).becomes('ready')
    await until('it is reported', async () =>
      /iptables-legacy .+NET_RAW/.test((await warned('leftovers-not-checked')) ?? ''),
    )
  })

  test('is not verified and not ready with a dataplane that may bypass netfilter, until --dataplane=netfilter is set', async () => {
    const running = await start()
    await running.becomes('ready')
    await node.must('node', 'ip link add cilium_host type bridge'.split(' '))
    await running.becomes('dataplane-bypass')
    assert.equal((await running.readiness()).status, 503)
    await until('the broker knows', async () =>
      /Cilium/.test((await whyUnguarded(node.machine.path('/run/pod2iam'), Date.now())) ?? ''),
    )
    assert.equal((await status()).verified, false)
    assert.match((await warned('dataplane-bypass')) ?? '', /--dataplane=netfilter/)
    assert.equal(await running.metric('block_verified'), 0)
    assert.equal(await running.metric('warning{code="dataplane-bypass"}'), 1)
    await running.end('SIGTERM')
    await (await start(['--dataplane=netfilter'])).becomes('ready')
    await until('the warning stays', async () =>
      /because of --dataplane=netfilter\. Pods whose packets/.test((await warned('dataplane-bypass')) ?? ''),
    )
    assert.equal((await status()).verified, true)
  })

  test('is ready with Cilium if that masquerades by iptables, since it uses the host’s stack then', async () => {
    await node.must('node', 'ip link add cilium_host type bridge'.split(' '))
    for (const rule of [
      '-N CILIUM_POST_nat',
      '-A CILIUM_POST_nat -s 10.244.0.0/16 -j MASQUERADE -m comment --comment',
    ])
      await node.must('node', [
        'iptables-nft',
        '-t',
        'nat',
        ...rule.split(' '),
        ...(rule.endsWith('comment') ? ['cilium masquerade non-cluster'] : []),
      ])
    await (await start()).becomes('ready')
  })

  const OPTIONS = [
    [401, 1, []],
    [401, 2, ['imds-hop-limit']],
    [200, 1, ['imds-v1']],
    [200, 64, ['imds-hop-limit', 'imds-v1']],
    [403, 1, []],
  ] as const
  for (const [answer, hopLimit, codes] of OPTIONS)
    test(`reports ${codes.join(' and ') || 'nothing'} for a metadata service that answers ${answer} without a token, with hop limit ${hopLimit}`, async () => {
      const asked = await serveMetadata(answer, hopLimit)
      const running = await start()
      await running.becomes('ready')
      // The guard requests a listing without a token, and a token, but nothing secret.
      const questions = ['GET /latest/meta-data/ -', 'PUT /latest/api/token -'].slice(
        0,
        answer === 403 ? 1 : 2,
      )
      // The requests may be repeated on a busy machine.
      const different = () => [...new Set(asked)]
      await until('the requests arrived', () => different().length === questions.length)
      const look = ['nft', 'list', 'table', ...IMDS_PROBE_TABLE.split(' ')]
      await until('its table is gone', async () => (await node.run('node', look)).code !== 0)
      await until('status shows it', async () => {
        const seen = (await status()).warnings
          .map(({ code }) => code)
          .filter((code) => code.startsWith('imds-'))
        return JSON.stringify(seen.sort()) === JSON.stringify(codes)
      })
      assert.deepEqual(different(), questions)
      if (codes.some((code) => code === 'imds-hop-limit'))
        assert.match((await warned('imds-hop-limit')) ?? '', new RegExp(`travel ${hopLimit} hops`))
    })

  test('sees the hop limit by IPv6, too', async () => {
    await node.must('aws', ['sh', '-c', 'for f in /proc/sys/net/ipv6/conf/*/hop_limit; do echo 3 >$f; done'])
    await serveMetadata(401, 64)
    await (await start(['--metadata-address=fd00:ec2::254'])).becomes('ready')
    await until('status shows it', async () => /travel 3 hops/.test((await warned('imds-hop-limit')) ?? ''))
  })

  test('reports in one sentence a metadata service that does not answer, closes the connection, or is malformed', async () => {
    const exec = async () => ({ code: 0, stdout: '{"nftables":[]}', stderr: '' })
    for (const [answer, sentence] of [
      ['', /did not answer within 2000 ms/],
      ['close', /closed the connection/],
      ['x'.repeat(20_000), /does not speak HTTP/],
      ['HTTP/1.1 500 No\r\n\r\n', /answered 500/],
    ] as const) {
      const server = createServer((socket) => {
        socket.on('error', () => {})
        if (answer === 'close') socket.end()
        else if (answer !== '') socket.write(answer)
      }).listen(0, '127.0.0.1')
      await new Promise((resolve) => server.once('listening', resolve))
      const { port } = server.address() as { port: number }
      await assert.rejects(readImdsOptions(exec, '127.0.0.1', port), sentence)
      server.close()
    }
    await assert.rejects(readImdsOptions(exec, '127.0.0.1', 1), /ECONNREFUSED/)
  })
})
