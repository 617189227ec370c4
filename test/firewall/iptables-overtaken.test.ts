/** Repairs by iptables-nft while others go on changing tables, and the monitor tells of it late: mostly without a kernel. */
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
  /** Hears the oldest lines of the monitor; whether a check is due. */
  readonly hear: (lines: number) => boolean
}

/** A block that stands, with all events heard; `meanwhile` is called before each command after that. */
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

/** Ours is there, once, and first. */
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

test('a table that the monitor says was deleted is written again without being read first, and it alone', async () => {
  const { model, block, hear } = await guarded()
  model.replace('mangle')
  assert.equal(hear(Number.POSITIVE_INFINITY), true)
  await block.check('event')
  assert.deepEqual(model.calls, ['restore mangle', 'list'])
  assertWhole(model)
  assert.deepEqual([block.state().verified, block.state().repairs.event], [true, 1])
})

test('nothing is begun before the monitor has reported a whole transaction', async () => {
  const { model, backend, hear } = await guarded()
  model.replace('filter', ACCEPT)
  for (const lines = model.events.length; model.events.length > 1; ) {
    assert.equal(hear(1), false, `line ${lines - model.events.length} of ${lines}`)
    assert.equal(backend.reportedChange?.(), undefined)
  }
  assert.equal(hear(1), true)
  assert.equal(backend.reportedChange?.(), 'is gone')
})

test('a restore of a saved ruleset that has our chains in it is no loss, but is looked at', async () => {
  const { model, backend, hear } = await guarded()
  model.replace('mangle', ':POD2IAM-POSTROUTING - [0:0]', '-I POSTROUTING 1 -j POD2IAM-POSTROUTING')
  assert.equal(hear(Number.POSITIVE_INFINITY), true)
  assert.equal(backend.reportedChange?.(), undefined)
})

test('a report that comes late, of what was repaired already, leaves no rule twice', async () => {
  const { model, block, hear } = await guarded()
  model.replace('mangle')
  // Found by reading, before the monitor told.
  await block.check('poll')
  const [foreign, own] = [model.events.findIndex((line) => line.startsWith('# new')) + 1, model.events.length]
  assert.ok(foreign < own)
  hear(foreign)
  await block.check('event')
  assertWhole(model)
  assert.equal(block.state().verified, true)
})

test('a report that is heard to the end, with our own repair, is no reason for another one', async () => {
  const { model, backend, block, hear } = await guarded()
  model.replace('mangle')
  await block.check('poll')
  hear(Number.POSITIVE_INFINITY)
  assert.equal(backend.reportedChange?.(), undefined)
})

test('what was read since it was heard of is not said again by another’s next transaction', async () => {
  const { model, backend, hear } = await guarded()
  model.replace('mangle')
  hear(Number.POSITIVE_INFINITY)
  assert.equal((await backend.compare()).differs, 'was changed')
  model.events.push('add rule ip filter FORWARD accept', '# new generation 99 by process 1 (iptables-nft)')
  hear(Number.POSITIVE_INFINITY)
  assert.equal(backend.reportedChange?.(), undefined)
})

test('packets counted in a table that stood are counted on, once, when another one is written unread', async () => {
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

test('whoever replaces tables whenever they like, and however late we hear: we take nothing away, and all is back', async () => {
  type Step = { readonly replaces: 'mangle' | 'filter' | 'nat' | undefined; readonly hears: number }
  const step: fc.Arbitrary<Step> = fc.record({
    replaces: fc.constantFrom('mangle', 'filter', 'nat', undefined),
    hears: fc.integer({ min: 0, max: 12 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const left = [...steps]
      let due = false
      /** Tables in which ours was whole before the command that is running. */
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
        for (const chain of whole) assert.ok(wholeNow(model).has(chain), `${chain} was taken away by us`)
        const next = left.shift()
        if (next?.replaces !== undefined)
          model.replace(next.replaces, ...(next.replaces === 'filter' ? [ACCEPT] : []))
        if (next !== undefined && hear(next.hears)) due = true
        whole = wholeNow(model)
      })
      await block.check('poll')
      for (let round = 0; left.length > 0 || model.events.length > 0 || due; round++) {
        assert.ok(round < 50, 'it does not come to rest')
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

test('the real monitor reports a real restore in these lines', needsNamespaces(), async () => {
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
    await until('the monitor is there', async () => {
      await node.must('node', ['nft', 'add table ip test_heard; delete table ip test_heard'])
      return heard.length > 0
    })
    assert.equal(await backend.load(RULES), undefined)
    assert.deepEqual((await backend.compare()).differs, undefined)
    // The monitor has come to our own load by then.
    const before = heard.length
    await node.must('node', ['nft', 'add table ip test_after'])
    await until('all is heard', async () => heard.length > before && heard.at(-1) === '# new generation')
    assert.equal(backend.reportedChange?.(), undefined)
    const restored =
      '*mangle\n:POSTROUTING ACCEPT\nCOMMIT\n*filter\n:FORWARD ACCEPT\n-A FORWARD -j ACCEPT\nCOMMIT\n'
    await node.must('node', ['ip6tables-nft-restore'], restored)
    await until('it is heard to its end', () => {
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
