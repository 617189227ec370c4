/** The kernel's notifications of changes in nf_tables, from its own socket. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { netlinkLines } from '../../node-guard/firewall/nft/netlink.ts'
import { ruleEvents } from '../../node-guard/firewall/nft/rule-events.ts'
import type { Exec } from '../../node-guard/firewall/process/exec.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { until } from '../support/until.ts'
import { openNode, type TestNode } from './node.ts'

const TABLES = ['inet test_ours', 'ip filter']
const SOCAT: Exec = async () => ({ code: 0, stdout: '', stderr: '' })
const everything = { tables: TABLES, matches: () => true }

describe('a notification of the kernel', needsNamespaces(), () => {
  let node: TestNode
  let bytes = Buffer.alloc(0)
  let stop = () => {}
  before(async () => {
    node = await openNode()
    const { command, args } = await ruleEvents(SOCAT, everything)
    const child = node.spawn('node', [command, ...args])
    child.stdout?.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
    })
    stop = () => child.kill('SIGKILL')
    await until('the socket is open', async () => {
      await node.must('node', ['nft', 'add table inet test_listening; delete table inet test_listening'])
      return bytes.length > 0
    })
  })
  after(() => {
    stop()
    return node?.close()
  })

  /** All lines that these commands cause, up to those of a table which marks the end. */
  async function linesOf(...commands: readonly (readonly string[])[]): Promise<readonly string[]> {
    bytes = Buffer.alloc(0)
    for (const command of commands) await node.must('node', command)
    await node.must('node', ['nft', 'add table ip filter; delete table ip filter'])
    await until('all is reported', () => netlinkLines(TABLES)(bytes).at(-2) === 'delete table ip filter')
    return netlinkLines(TABLES)(bytes)
  }
  const END = ['add table ip filter', 'delete table ip filter', '# new generation']

  test('names the table, chain or set, in the order of the transactions', async () => {
    const lines = await linesOf(
      ['nft', 'add table inet test_ours; add chain inet test_ours f; add counter inet test_ours c'],
      ['nft', 'add rule inet test_ours f drop; add set inet test_ours s { type ipv4_addr; }'],
      ['nft', 'add element inet test_ours s { 10.0.0.1 }; flush chain inet test_ours f'],
      ['nft', 'delete table inet test_ours'],
    )
    const deleted = lines.lastIndexOf('# new generation', lines.length - END.length - 2)
    assert.deepEqual(lines.slice(0, deleted + 1), [
      'add table inet test_ours',
      'add chain inet test_ours f',
      'add object inet test_ours c',
      '# new generation',
      'add rule inet test_ours f',
      'add set inet test_ours s',
      '# new generation',
      'add element inet test_ours s',
      'delete rule inet test_ours f',
      '# new generation',
    ])
    assert.deepEqual(lines.slice(deleted + 1, -END.length).sort(), [
      '# new generation',
      'delete chain inet test_ours f',
      'delete object inet test_ours c',
      'delete set inet test_ours s',
      'delete table inet test_ours',
    ])
  })

  test('about other tables gives only the end of the transaction', async () => {
    const lines = await linesOf(['nft', 'add table inet test_other; add chain inet test_other f'])
    assert.deepEqual(lines, ['# new generation', ...END])
  })

  test('about iptables-nft names tables and built-in chains as nft does', async () => {
    const lines = await linesOf(
      ['iptables-nft', '-A', 'FORWARD', '-j', 'ACCEPT'],
      ['nft', 'delete table ip filter'],
    )
    assert.ok(lines.includes('add rule ip filter FORWARD'), lines.join('\n'))
    assert.equal(lines.filter((line) => line === 'delete table ip filter').length, 2)
  })

  test('gives the same lines wherever the stream is split', async () => {
    const whole = await linesOf(
      ['nft', 'add table inet test_ours; add chain inet test_ours f; add rule inet test_ours f drop'],
      ['nft', 'delete table inet test_ours'],
    )
    const sent = bytes
    fc.assert(
      fc.property(fc.array(fc.nat(sent.length)), (cuts) => {
        const decode = netlinkLines(TABLES)
        const ends = [...cuts.sort((a, b) => a - b), sent.length]
        assert.deepEqual(
          ends.flatMap((end, index) => decode(sent.subarray(index === 0 ? 0 : ends[index - 1], end))),
          whole,
        )
      }),
      { numRuns: 50 },
    )
  })
})

test('bytes that are no netlink message throw an error, and no bytes cause a loop or a read beyond them', () => {
  assert.throws(() => netlinkLines(TABLES)(Buffer.alloc(64)), /no netlink message/)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      try {
        netlinkLines(TABLES)(Buffer.from(noise))
      } catch (error) {
        assert.match(String(error), /no netlink message/)
      }
    }),
  )
})

for (const [what, code, stderr] of [
  ['without socat', 'missing', 'spawn socat ENOENT'],
  ['with a socat that lacks a library', 127, 'socat: error while loading shared libraries: libwrap.so.0'],
] as const)
  test(`${what}, nft monitor is used with a memory limit, and the limitation is reported`, async () => {
    const broken: Exec = async () => ({ code, stdout: '', stderr })
    const { command, args, limited } = await ruleEvents(broken, everything)
    assert.deepEqual([command, ...args], ['prlimit', '--as=50331648', '--', 'nft', 'monitor'])
    assert.ok(limited?.startsWith(`socat cannot be run (${stderr}), `), limited)
    assert.match(limited ?? '', /; use the pod2iam image, or install socat$/)
  })
