/** A table as commands whose costs do not grow with the rules of others on the node. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tableCommands } from '../../node-guard/firewall/nft/commands.ts'
import { auditRuleset, guardRuleset, ownedRuleset } from '../../node-guard/firewall/rules/guard-nft.ts'
import { RULES } from './battery.ts'

const table = (...lines: readonly string[]) => ['table inet t {', ...lines, '}', ''].join('\n')

test('a table, its counters and its chains become commands, each chain with all its rules', () => {
  const { commands, shape } = tableCommands(
    table(
      'counter c { }',
      '# why',
      'chain f {',
      'type filter hook forward priority 0; policy accept;',
      'counter name c drop',
      '}',
    ),
  )
  assert.deepEqual(commands.split('\n'), [
    'add table inet t',
    'flush table inet t',
    'add counter inet t c { }',
    'add chain inet t f { type filter hook forward priority 0; policy accept; counter name c drop; }',
  ])
  assert.deepEqual(shape, { chains: { f: 1 }, sets: [] })
})

test('a rule with sets becomes one rule for each element, and one condition for each excluded element', () => {
  const { commands, shape } = tableCommands(
    table(
      'set a { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 } }',
      'set none { type ipv6_addr;  }',
      'set up { type ifname; elements = { "eth0", "eth1" } }',
      'set seen { type ipv4_addr; flags dynamic,timeout; timeout 1s; size 4; }',
      'chain f {',
      'ip daddr @a iifname @up drop',
      'ip6 daddr @none drop',
      'ct original ip daddr @a ip daddr != @a update @seen { ip saddr counter }',
      '}',
    ),
  )
  const [, , set, chain = ''] = commands.split('\n')
  assert.equal(set, 'add set inet t seen { type ipv4_addr; flags dynamic,timeout; timeout 1s; size 4; }')
  assert.deepEqual(/\{ (.*); \}/.exec(chain)?.[1]?.split('; '), [
    ...['10.0.0.1', '10.0.0.2'].flatMap((address) =>
      ['"eth0"', '"eth1"'].map((name) => `ip daddr ${address} iifname ${name} drop`),
    ),
    ...['10.0.0.1', '10.0.0.2'].map(
      (address) =>
        `ct original ip daddr ${address} ip daddr != 10.0.0.1 ip daddr != 10.0.0.2 update @seen { ip saddr counter }`,
    ),
  ])
  assert.deepEqual(shape, { chains: { f: 6 }, sets: ['seen'] })
})

test('none of the guard’s rulesets needs nft to read all tables of the node', () => {
  for (const ruleset of [guardRuleset(RULES), auditRuleset(RULES), ownedRuleset(RULES)]) {
    const { commands } = tableCommands(ruleset)
    for (const line of commands.split('\n'))
      assert.match(line, /^(?:add (?:table|counter|set|chain)|flush table) /)
    assert.doesNotMatch(commands, /elements|^table/m)
  }
  // Only audit mode needs named sets, which crash an older nft of the node.
  assert.doesNotMatch(tableCommands(guardRuleset(RULES)).commands, /add set|@/)
  assert.doesNotMatch(tableCommands(ownedRuleset(RULES)).commands, /add set|@/)
})

test('an unknown construct is refused by name', () => {
  for (const ruleset of ['', 'table ip t {\n}\n', 'table inet t {\n', table('map m { }'), table('drop')])
    assert.throws(() => tableCommands(ruleset), /^SyntaxError: syntax error in our own ruleset/)
})
