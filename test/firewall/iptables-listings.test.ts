/** Chains of iptables-nft that are read by name: how they are requested and parsed. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { difference, restoreInput } from '../../node-guard/firewall/iptables/chains.ts'
import { type Iptables, restore } from '../../node-guard/firewall/iptables/command.ts'
import {
  listInput,
  parseListings,
  relevantListedLines,
  savedOf,
} from '../../node-guard/firewall/iptables/listings.ts'
import { readChains } from '../../node-guard/firewall/iptables/reading.ts'
import { parseSaved } from '../../node-guard/firewall/iptables/saved.ts'
import type { Exec } from '../../node-guard/firewall/process/exec.ts'
import { GUARD_CHAINS, GUARD_PLACES, iptablesRules } from '../../node-guard/firewall/rules/guard-iptables.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { RULES } from './battery.ts'
import { nodeExec, openNode, type TestNode } from './node.ts'

const { hooks, own } = GUARD_PLACES
const PLACES = [...hooks, ...own]

test('all chains are requested by one input, which ends each table that it begins', () => {
  const input = listInput(PLACES)
  for (const { chain } of PLACES) assert.ok(input.includes(`\n-v -S ${chain}\n`), chain)
  assert.equal(input.match(/^\*/gm)?.length, input.match(/^COMMIT$/gm)?.length)
  assert.doesNotMatch(input, /^-[^v]/m)
  assert.equal(listInput([]), '')
})

test('chains with the same name in two tables are identified by their order', () => {
  const places = [
    { table: 'mangle', chain: 'INPUT' },
    { table: 'filter', chain: 'INPUT' },
  ] as const
  const output =
    '-P INPUT ACCEPT -c 1 2\n-A INPUT -c 3 4 -j POD2IAM-INPUT\n-P INPUT ACCEPT -c 0 0\n-A INPUT -c 5 6 -j ACCEPT\n'
  const { jumps, first } = savedOf(parseListings(output, places), GUARD_CHAINS)
  assert.deepEqual(jumps, [{ table: 'mangle', line: '-A INPUT -j POD2IAM-INPUT' }])
  assert.equal(first.get('filter INPUT'), '-j ACCEPT')
})

test('counters are removed from a rule, but not a text like them in a comment', () => {
  const rule = '-m comment --comment "a -c 1 2 \\" -j POD2IAM-FORWARD" -c 7 420 -j DROP'
  const place = { table: 'filter', chain: 'POD2IAM-FORWARD' } as const
  const [listed] = parseListings(`-N POD2IAM-FORWARD\n-A POD2IAM-FORWARD ${rule}\n`, [place])
  assert.deepEqual(listed?.rules, [{ rule: rule.replace(' -c 7 420', ''), packets: 7 }])
})

test('no output makes the reader throw or find a chain that was not requested', () => {
  const line = fc.oneof(
    fc.string(),
    fc.constantFrom('-P FORWARD ACCEPT', '-N POD2IAM-OTHER', '-A FORWARD -c 1', '-A', '-N', '-P INPUT'),
  )
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      const text = lines.filter(relevantListedLines(GUARD_CHAINS)).join('\n')
      const { chains } = savedOf(parseListings(text, PLACES), GUARD_CHAINS)
      for (const { name } of chains.values()) assert.ok(own.some(({ chain }) => chain === name))
    }),
  )
})

describe('our chains on a node', needsNamespaces(), () => {
  let node: TestNode
  before(async () => {
    node = await openNode()
  })
  after(() => node?.close())

  const wanted = iptablesRules(RULES, 4)
  const NOTHING = parseSaved('', GUARD_CHAINS)
  const calls: string[] = []
  const exec: Exec = (command, args, options) => {
    calls.push(command)
    return nodeExec(node)(command, args, options)
  }
  const tool: Iptables = { exec, variant: 'nft', family: 4, prefix: GUARD_CHAINS }
  const read = async () => {
    calls.length = 0
    const result = await readChains(tool, hooks, own)
    assert.ok(result.ok, result.ok ? '' : result.detail)
    return result.saved
  }
  const load = async () => {
    await node.must('node', ['nft', 'flush ruleset'])
    const result = await restore(tool, restoreInput(wanted, NOTHING))
    assert.ok(result.ok, result.ok ? '' : result.detail)
  }
  const iptables = (line: string) => node.must('node', ['iptables-nft', ...line.split(' ')])

  test('are found to be missing on an empty node, which stays empty', async () => {
    await node.must('node', ['nft', 'flush ruleset'])
    assert.equal(difference(wanted, await read()), 'is gone')
    assert.equal(await node.must('node', ['nft', 'list', 'ruleset']), '')
  })

  test('are read by one process if they are in place, with the same result as from iptables-save', async () => {
    await load()
    await iptables('-A FORWARD -s 10.0.0.0/8 -m comment --comment kube -j ACCEPT')
    await iptables('-t nat -N KUBE-SERVICES')
    const found = await read()
    assert.equal(difference(wanted, found), undefined)
    assert.equal(calls.length, 1)
    const text = await node.must('node', ['iptables-nft-save', '-c'])
    const whole = parseSaved(text, GUARD_CHAINS)
    assert.deepEqual(Object.fromEntries(found.chains), Object.fromEntries(whole.chains))
    assert.deepEqual(
      found.jumps.map(({ table, line }) => `${table} ${line}`).sort(),
      whole.jumps.map(({ table, line }) => `${table} ${line}`).sort(),
    )
  })

  test('are read, if some are missing, by one process and one more for each table that lacks some', async () => {
    await load()
    for (const line of ['-t mangle -F', '-t mangle -X', '-F POD2IAM-FORWARD', '-F POD2IAM-OUTPUT'])
      await iptables(line)
    for (const chain of ['INPUT', 'REFUSE']) await iptables(`-F POD2IAM-${chain}`)
    await iptables('-X POD2IAM-REFUSE')
    const found = await read()
    assert.equal(difference(wanted, found), 'was changed')
    assert.ok(calls.length <= 3, `${calls.length} processes`)
    assert.ok(found.chains.has('nat POD2IAM-PIN'))
    const result = await restore(tool, restoreInput(wanted, found))
    assert.ok(result.ok)
    assert.equal(difference(wanted, await read()), undefined)
  })

  test('are written again if another program has added a rule that iptables does not understand', async () => {
    await load()
    await node.must('node', [
      'nft',
      'insert rule ip filter POD2IAM-FORWARD ip daddr { 192.0.2.1, 192.0.2.2 } meta mark set numgen inc mod 2',
    ])
    const found = await read()
    assert.equal(difference(wanted, found), 'was changed')
    const result = await restore(tool, restoreInput(wanted, found))
    assert.ok(result.ok, result.ok ? '' : result.detail)
    assert.equal(difference(wanted, await read()), undefined)
  })
})
