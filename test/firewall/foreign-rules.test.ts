/** The guard on a node with many rules of other programs. The benchmarks measure its costs there. */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, test } from 'node:test'
import { iptablesBackend } from '../../node-guard/firewall/iptables/backend.ts'
import { createLegacyNat } from '../../node-guard/firewall/iptables/legacy-nat.ts'
import { readNatRules, redirectsOf } from '../../node-guard/firewall/iptables/nat-rules.ts'
import type { Exec } from '../../node-guard/firewall/process/exec.ts'
import { iptablesServices } from '../bench/firewall/services.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { until } from '../support/until.ts'
import { RULES } from './battery.ts'
import { ADMIN_AND_RAW, type GuardProcess, startGuard } from './guard-process.ts'
import { MAIN, nodeExec, openNode, type TestNode } from './node.ts'
import { withoutTools } from './without-tools.ts'

/** More Services than the guard supports in a nat table of iptables-legacy, and few enough to load quickly. */
const MANY = 400

describe('on a node with many rules of other programs', needsNamespaces(), () => {
  let node: TestNode
  let guard: GuardProcess | undefined
  before(async () => {
    node = await openNode()
    const aws = await node.agent('aws')
    for (const host of ['0.0.0.0', '::']) await aws.listen({ host, port: 80, name: 'aws' })
  })
  after(() => node?.close())
  afterEach(async () => {
    await guard?.end('SIGKILL')
    guard = undefined
    await node.run('node', [process.execPath, MAIN, 'remove', '--open-this-node'])
    await node.must('node', ['nft', 'flush ruleset'])
    for (const table of ['filter', 'mangle', 'nat'])
      for (const ip of ['ip', 'ip6'])
        for (const command of ['-F', '-X'])
          await node.run('node', [`${ip}tables-legacy`, '-w', '-t', table, command])
  })

  const services = (variant: string, count: number) =>
    node.must('node', [`iptables-${variant}-restore`], iptablesServices(count))
  const pod = async () =>
    (await (await node.agent('pod1')).tcp({ host: '169.254.169.254', port: 80 })).outcome
  const status = async () =>
    JSON.parse((await node.run('node', [process.execPath, MAIN, 'status', '--json'])).stdout) as {
      leftovers: { rule: string }[]
      warnings: { code: string; detail: string }[]
    }
  const start = async (wrapper: readonly string[]) => {
    guard = await startGuard(node, ['--backend=iptables', '--poll-interval=5m'], wrapper)
    await guard.becomes('ready')
    return guard
  }

  test('a guard with iptables-nft blocks, repairs and finds leftovers although it cannot read whole tables', async () => {
    await services('nft', 3)
    const takes = '-p tcp -d 169.254.169.254 --dport 80 -j DNAT --to-destination 10.0.0.10:8181'
    await node.must('node', `iptables-nft -t nat -N KIAM`.split(' '))
    await node.must('node', `iptables-nft -t nat -A PREROUTING -j KIAM`.split(' '))
    await node.must('node', `iptables-nft -t nat -A KIAM ${takes}`.split(' '))
    const running = await start([
      ...withoutTools(['iptables-nft-save', 'ip6tables-nft-save', 'iptables-save', 'ip6tables-save']),
      ...ADMIN_AND_RAW,
    ])
    assert.equal(await pod(), 'ECONNREFUSED')
    await until('the leftover is found', async () => (await status()).leftovers.length > 0)
    assert.ok((await status()).leftovers.some(({ rule }) => rule.includes('-A KIAM ')))
    await node.must('node', ['sh', '-c', 'iptables-nft -F; iptables-nft -X; iptables-nft -t mangle -F'])
    await until('it is repaired', async () => (await running.repairs()) > 0)
    await until('it refuses', async () => (await pod()) === 'ECONNREFUSED')
    const chain = await node.must('node', ['iptables-nft', '-t', 'nat', '-S', 'KUBE-SERVICES'])
    assert.match(chain, /KUBE-SVC-/)
  })

  test('a guard with iptables-legacy does not change a big nat table, and status shows the limitation', async () => {
    await services('legacy', MANY)
    const before = await node.must('node', ['iptables-legacy-save', '-t', 'nat'])
    const running = await start(ADMIN_AND_RAW)
    assert.equal(await pod(), 'ECONNREFUSED')
    const rules = (text: string) => text.split('\n').filter((line) => line.startsWith('-A '))
    assert.deepEqual(rules(await node.must('node', ['iptables-legacy-save', '-t', 'nat'])), rules(before))
    await until('status says it', async () =>
      (await status()).warnings.some(
        ({ code, detail }) => code === 'backend-limited' && /nat table .+ too big/.test(detail),
      ),
    )
    assert.ok(running.logs.some(({ msg }) => msg === 'backend limited'))
    await node.must('node', ['iptables-legacy', '-w', '-F'])
    await until('it is repaired', async () => (await running.repairs()) > 0)
    // There is one repair, by the canary or by a reading, whichever comes first.
    assert.equal(await running.repairs(), 1)
    assert.equal(await pod(), 'ECONNREFUSED')
  })

  test('a guard with iptables-legacy keeps its pin in a nat table that becomes big, and reads it no more', async () => {
    let now = 0
    const saves: string[] = []
    const exec: Exec = (command, args, options) => {
      if (args.includes('nat')) saves.push(args.join(' '))
      return nodeExec(node)(command, args, options)
    }
    const backend = iptablesBackend({
      exec,
      variant: 'legacy',
      families: async () => [4],
      legacyNat: createLegacyNat(() => now),
    })
    assert.equal(await backend.load(RULES), undefined)
    assert.equal((await backend.compare()).differs, undefined)
    const pins = () => node.must('node', ['iptables-legacy', '-t', 'nat', '-S', 'POD2IAM-PIN'])
    assert.match(await pins(), /DNAT/)
    // There is no other reading within a minute.
    saves.length = 0
    assert.equal((await backend.compare()).differs, undefined)
    assert.deepEqual(saves, [])
    const noFlush = ['iptables-legacy-restore', '--noflush']
    await node.must('node', noFlush, iptablesServices(MANY))
    now += 60_000
    assert.equal((await backend.compare()).differs, undefined)
    assert.equal(saves.length, 1)
    assert.match(backend.limits?.() ?? '', /too big/)
    assert.match(await pins(), /DNAT/)
    now += 60_000
    assert.equal((await backend.compare()).differs, undefined)
    assert.equal(saves.length, 1)
  })

  test('a search for leftovers reports a table of iptables-legacy that is too big to read', async () => {
    await services('legacy', 2000)
    const { rules, unread } = await readNatRules(nodeExec(node), redirectsOf(['169.254.169.254']), {
      read: async (file) => (file === '/proc/net/ip_tables_names' ? 'nat\n' : ''),
    })
    assert.deepEqual(rules, [])
    assert.equal(unread.length, 1)
    assert.match(unread[0] ?? '', /iptables-legacy is too big .+ look on the node: iptables-legacy -t nat -S/)
  })
})
