/** Repairs by iptables-nft while other programs change tables and the monitor reports this late, mostly without a kernel. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Backend } from '../../node-guard/firewall/backend/backend.ts'
import { type Block, createBlock } from '../../node-guard/firewall/block/block.ts'
import { createChoice } from '../../node-guard/firewall/block/choice.ts'
import { iptablesBackend } from '../../node-guard/firewall/iptables/backend.ts'
import type { Exec } from '../../node-guard/firewall/process/exec.ts'
import { iptablesRules } from '../../node-guard/firewall/rules/guard-iptables.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { silentLog } from '../support/log.ts'
import { until } from '../support/until.ts'
import { RULES } from './battery.ts'
import { type IptablesModel, iptablesModel } from './iptables-model.ts'
import { nodeExec, openNode } from './node.ts'

const WANTED = iptablesRules(RULES, 4)
const ACCEPT = '-A FORWARD -j ACCEPT'

type Guarded = {
  readonly model: IptablesModel
  readonly backend: Backend
  readonly block: Block
  /** Reads the oldest lines of the monitor. Gives whether a check is due. */
  readonly hear: (lines: number) => boolean
}

/** A block that is in place, with all events read; `meanwhile` is called before each command after that. */
async function guarded(meanwhile: (node: Omit<Guarded, 'block'>) => void = () => {}): Promise<Guarded> {
  let standing = false
  const model = iptablesModel(() => {
    if (standing) meanwhile(node)
  })
  const backend = iptablesBackend({ exec: model.exec, variant: 'nft', families: async () => [4] })
  const { matches } = (await backend.monitor()) ?? assert.fail('nothing is watched')
  const hear = (lines: number) => model.events.splice(0, lines).filter(matches).length > 0
  const node = { model, backend, hear }
  const choice = createChoice({
    backends: { all: [backend], candidates: async () => [backend] },
    follow: async () => () => {},
    log: silentLog,
  })
  const { metadata, broker, ...ways } = RULES
  const block = createBlock({
    metadata,
    broker,
    choice,
    topology: () => ways,
    now: () => 0,
    log: silentLog,
  })
  await block.check('start')
  hear(Number.POSITIVE_INFINITY)
  model.calls.length = 0
  standing = true
  return { ...node, block }
}

/** Asserts that our rules are complete and each of our jumps is there once and first. */
function assertWhole({ chain }: IptablesModel): void {
  for (const { table, name, hook, rules } of WANTED) {
    assert.deepEqual(
      chain(table, name),
      rules.map(({ rule }) => rule),
    )
    if (hook === undefined) continue
    const jumps = chain(table, hook)?.flatMap((rule, index) => (rule === `-j ${name}` ? [index] : []))
    assert.deepEqual(jumps, [0], `jumps to ${name}`)
  }
}

test('only a table that the monitor reports as deleted is written again, without a reading before', async () => {
  const { model, block, hear } = await guarded()
  model.replace('mangle')
  assert.equal(hear(Number.POSITIVE_INFINITY), true)
  await block.check('event')
  assert.deepEqual(model.calls, ['restore mangle', 'list'])
  assertWhole(model)
  assert.deepEqual([block.state().verified, block.state().repairs.event], [true, 1])
})

test('no check starts before the monitor has reported a complete transaction', async () => {
  const { model, backend, hear } = await guarded()
  model.replace('filter', ACCEPT)
  for (const lines = model.events.length; model.events.length > 1; ) {
    assert.equal(hear(1), false, `line ${lines - model.events.length} of ${lines}`)
    assert.equal(backend.reportedChange?.(), undefined)
  }
  assert.equal(hear(1), true)
  assert.equal(backend.reportedChange?.(), 'is gone')
})

test('a restore of a saved ruleset with our chains causes a check, but does not count as a loss', async () => {
  const { model, backend, hear } = await guarded()
  model.replace('mangle', ':POD2IAM-POSTROUTING - [0:0]', '-I POSTROUTING 1 -j POD2IAM-POSTROUTING')
  assert.equal(hear(Number.POSITIVE_INFINITY), true)
  assert.equal(backend.reportedChange?.(), undefined)
})

test('a late report of a change that was repaired already duplicates no rule', async () => {
  const { model, block, hear } = await guarded()
  model.replace('mangle')
  // The change is found by a reading, before the monitor reports it.
  await block.check('poll')
  const [foreign, own] = [model.events.findIndex((line) => line.startsWith('# new')) + 1, model.events.length]
  assert.ok(foreign < own)
  hear(foreign)
  await block.check('event')
  assertWhole(model)
  assert.equal(block.state().verified, true)
})

test('a complete report of a change and of our own repair causes no other repair', async () => {
  const { model, backend, block, hear } = await guarded()
  model.replace('mangle')
  await block.check('poll')
  hear(Number.POSITIVE_INFINITY)
  assert.equal(backend.reportedChange?.(), undefined)
})

test('a loss that a later reading has covered is not reported again with another program’s next transaction', async () => {
  const { model, backend, hear } = await guarded()
  model.replace('mangle')
  hear(Number.POSITIVE_INFINITY)
  assert.equal((await backend.compare()).differs, 'was changed')
  model.events.push('add rule ip filter FORWARD accept', '# new generation 99 by process 1 (iptables-nft)')
  hear(Number.POSITIVE_INFINITY)
  assert.equal(backend.reportedChange?.(), undefined)
})

test('counts of an intact table continue, without duplicates, when another table is written without a reading', async () => {
  const model = iptablesModel()
  let packets = 0
  const backend = iptablesBackend({
    exec: async (...call) => {
      const result = await model.exec(...call)
      return {
        ...result,
        stdout: result.stdout.replace(/^(-A POD2IAM-FORWARD .*) -c 0 /gm, `$1 -c ${packets} `),
      }
    },
    variant: 'nft',
    families: async () => [4],
  })
  const { matches } = (await backend.monitor()) ?? assert.fail('nothing is watched')
  const refused = async () => (await backend.compare()).packets?.metadata_refused ?? 0
  await backend.load(RULES)
  model.events.splice(0).forEach(matches)
  packets = 2
  const first = await refused()
  assert.ok(first > 0)
  model.replace('mangle')
  model.events.splice(0).forEach(matches)
  model.calls.length = 0
  await backend.load(RULES)
  assert.deepEqual(model.calls, ['restore mangle'])
  assert.equal(await refused(), 0)
  packets = 4
  assert.equal(await refused(), first)
})

test('whenever tables are replaced and however late this is reported, no intact rules are removed and all are restored', async () => {
  type Step = { readonly replaces: 'mangle' | 'filter' | 'nat' | undefined; readonly hears: number }
  const step: fc.Arbitrary<Step> = fc.record({
    replaces: fc.constantFrom('mangle', 'filter', 'nat', undefined),
    hears: fc.integer({ min: 0, max: 12 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const left = [...steps]
      let due = false
      /** Chains of ours that were complete before the current command. */
      let whole = new Set<string>()
      const wholeNow = ({ chain }: IptablesModel) =>
        new Set(
          WANTED.filter(
            ({ table, name, hook, rules }) =>
              chain(table, name)?.length === rules.length &&
              (hook === undefined || chain(table, hook)?.[0] === `-j ${name}`),
          ).map(({ table, name }) => `${table} ${name}`),
        )
      const { model, block, hear } = await guarded(({ model, hear }) => {
        for (const chain of whole) assert.ok(wholeNow(model).has(chain), `${chain} was removed by the guard`)
        const next = left.shift()
        if (next?.replaces !== undefined)
          model.replace(next.replaces, ...(next.replaces === 'filter' ? [ACCEPT] : []))
        if (next !== undefined && hear(next.hears)) due = true
        whole = wholeNow(model)
      })
      await block.check('poll')
      for (let round = 0; left.length > 0 || model.events.length > 0 || due; round++) {
        assert.ok(round < 50, 'repairs do not end')
        due = false
        hear(Number.POSITIVE_INFINITY)
        await block.check('event')
      }
      assertWhole(model)
      assert.equal(block.state().verified, true)
    }),
    { numRuns: 300 },
  )
})

test('the real monitor reports a real restore in the expected lines', needsNamespaces(), async () => {
  const node = await openNode()
  try {
    const calls: string[] = []
    const exec: Exec = (command, args, options) => {
      calls.push(command)
      return nodeExec(node)(command, args, options)
    }
    const backend = iptablesBackend({ exec, variant: 'nft', families: async () => [4, 6] })
    const watched = (await backend.monitor()) ?? assert.fail('nothing is watched')
    const monitor = node.spawn('node', [watched.command, ...watched.args])
    const heard: string[] = []
    const decode = watched.decoder?.() ?? assert.fail('no decoder')
    monitor.stdout?.on('data', (chunk: Buffer) => {
      for (const line of decode(chunk)) {
        heard.push(line)
        watched.matches(line)
      }
    })
    await until('the monitor listens', async () => {
      await node.must('node', ['nft', 'add table ip test_heard; delete table ip test_heard'])
      return heard.length > 0
    })
    assert.equal(await backend.load(RULES), undefined)
    assert.deepEqual((await backend.compare()).differs, undefined)
    // By then the monitor has reported our own load.
    const before = heard.length
    await node.must('node', ['nft', 'add table ip test_after'])
    await until('all is reported', async () => heard.length > before && heard.at(-1) === '# new generation')
    assert.equal(backend.reportedChange?.(), undefined)
    const restored =
      '*mangle\n:POSTROUTING ACCEPT\nCOMMIT\n*filter\n:FORWARD ACCEPT\n-A FORWARD -j ACCEPT\nCOMMIT\n'
    await node.must('node', ['ip6tables-nft-restore'], restored)
    await until('its end is reported', () => {
      const deleted = heard.indexOf('delete table ip6 filter')
      return deleted >= 0 && heard.slice(deleted).some((line) => line.startsWith('# new generation'))
    })
    assert.equal(backend.reportedChange?.(), 'is gone')
    calls.length = 0
    assert.equal(await backend.load(RULES), undefined)
    assert.deepEqual(calls, ['ip6tables-nft-restore'])
    assert.equal((await backend.compare()).differs, undefined)
  } finally {
    await node.close()
  }
})
