/** When a canary of iptables-legacy reports that rules are gone, and what happens without canaries. Without a kernel. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { iptablesBackend } from '../../node-guard/firewall/iptables/backend.ts'
import { createCanaries } from '../../node-guard/firewall/iptables/canaries.ts'
import { difference } from '../../node-guard/firewall/iptables/chains.ts'
import type { Exec } from '../../node-guard/firewall/process/exec.ts'
import { iptablesRules } from '../../node-guard/firewall/rules/guard-iptables.ts'
import { RULES } from './battery.ts'
import { iptablesModel } from './iptables-model.ts'

const FILES = ['filter', 'mangle', 'nat'].flatMap((table) =>
  [4, 6].map((family) => `/proc/net/xt_recent/POD2IAM-${table}-${family}`),
)

/** Canaries that are in place, and their files. */
function standing() {
  const files = new Set(FILES)
  const canaries = createCanaries((file) => files.has(file))
  const add = () => {
    for (const family of [4, 6] as const) canaries.add(iptablesRules(RULES, family), family)
  }
  add()
  canaries.expect()
  return { files, canaries, add }
}

describe('a canary', () => {
  for (const file of FILES)
    test(`reports once that its file ${file} is gone`, () => {
      const { files, canaries } = standing()
      assert.equal(canaries.isOneGone(), false)
      files.delete(file)
      assert.deepEqual([canaries.isOneGone(), canaries.isOneGone()], [true, false])
    })

  test('reports a second loss after it was in place again', () => {
    const { files, canaries } = standing()
    files.clear()
    assert.equal(canaries.isOneGone(), true)
    canaries.expect()
    assert.equal(canaries.isOneGone(), true)
  })

  test('reports nothing while rules are being loaded, which may fail', () => {
    const { files, canaries, add } = standing()
    files.clear()
    add()
    assert.equal(canaries.isOneGone(), false)
  })

  test('without a file although its rules are in place is not reported as gone, and counts as missing', () => {
    const canaries = createCanaries(() => false)
    canaries.add(iptablesRules(RULES, 4), 4)
    canaries.expect()
    assert.deepEqual([canaries.isOneGone(), canaries.missing()], [false, true])
  })

  test('belongs to one family and one table only, so that no other rule keeps its file', () => {
    const names = [4, 6].flatMap((family) =>
      createCanaries()
        .add(iptablesRules(RULES, family === 4 ? 4 : 6), family === 4 ? 4 : 6)
        .flatMap(({ canary }) => /--name (\S+)/.exec(canary ?? '')?.[1] ?? []),
    )
    assert.deepEqual(names.map((name) => `/proc/net/xt_recent/${name}`).toSorted(), FILES.toSorted())
  })
})

/** A backend whose canaries have seen a flush and a repair of each table. */
async function flushedByTurns() {
  const model = iptablesModel()
  // The file of each exists as long as its rule.
  const exists = (file: string) =>
    (['filter FORWARD', 'mangle POSTROUTING', 'nat PREROUTING'] as const).some((place) => {
      const [table, hook] = place.split(' ') as ['filter' | 'mangle' | 'nat', string]
      const name = file.slice(file.lastIndexOf('/') + 1)
      return model.chain(table, hook)?.some((rule) => rule.includes(`--name ${name} `))
    })
  const canaries = createCanaries(exists)
  const backend = iptablesBackend({
    exec: model.exec,
    variant: 'legacy',
    families: async () => [4],
    canaries,
  })
  await backend.load(RULES)
  assert.equal((await backend.compare()).differs, undefined)
  assert.equal(backend.polling?.areRulesGone(), false)
  for (const table of ['filter', 'mangle', 'nat'] as const) {
    model.replace(table)
    assert.equal(backend.reportedChange?.(), undefined)
    assert.deepEqual([backend.polling?.areRulesGone(), backend.polling?.areRulesGone()], [true, false])
    assert.equal(backend.reportedChange?.(), 'is gone')
    assert.equal((await backend.compare()).differs, 'was changed')
    assert.deepEqual([backend.polling?.areRulesGone(), backend.reportedChange?.()], [false, undefined])
    await backend.load(RULES)
    assert.equal((await backend.compare()).differs, undefined)
  }
  return { model, backend }
}

test('canaries are expected in rules that are read back as loaded, and not in rules that are read back as changed', async () => {
  await flushedByTurns()
})

test('only tables whose canary is gone at the time of the repair are written, without a reading before', async () => {
  const { model, backend } = await flushedByTurns()
  model.replace('mangle')
  assert.equal(backend.polling?.areRulesGone(), true)
  model.replace('filter', '-A FORWARD -j ACCEPT')
  model.calls.length = 0
  assert.equal(await backend.load(RULES), undefined)
  assert.deepEqual(model.calls, ['restore mangle filter'])
  assert.equal((await backend.compare()).differs, undefined)
})

describe('a kernel without xt_recent', () => {
  /** The backend with a kernel that refuses these rules, and the number of loads it refused. */
  const without = (refuses: (input: string) => string | undefined) => {
    const model = iptablesModel()
    let refused = 0
    const exec: Exec = async (command, args, options) => {
      const stderr = refuses(options?.input ?? '')
      if (stderr === undefined) return model.exec(command, args, options)
      refused++
      return { code: 2, stdout: '', stderr }
    }
    let seen = true
    const canaries = createCanaries(() => seen)
    const backend = iptablesBackend({ exec, variant: 'legacy', families: async () => [4], canaries })
    const hide = () => {
      seen = false
    }
    return { model, backend, hide, refused: () => refused }
  }
  const NO_MATCH = "iptables-restore v1.8.9 (legacy): Couldn't load match `recent':No such file or directory"

  test('gets the same rules without canaries, and the limitation is reported', async () => {
    const { backend, hide, refused } = without((input) =>
      input.includes('-m recent') ? NO_MATCH : undefined,
    )
    assert.equal(backend.limits?.(), undefined)
    assert.equal(await backend.load(RULES), undefined)
    assert.equal((await backend.compare()).differs, undefined)
    assert.match(backend.limits?.() ?? '', /xt_recent/)
    hide()
    assert.equal(backend.polling?.areRulesGone(), false)
    // Canaries are not tried again.
    const before = refused()
    await backend.load(RULES)
    assert.equal(refused(), before)
  })

  test('is not the reported cause of a load that fails without canaries, too', async () => {
    let broken = true
    const { backend, model } = without((input) => (broken && input !== '' ? 'line 3 failed' : undefined))
    assert.match((await backend.load(RULES))?.detail ?? '', /line 3 failed/)
    broken = false
    assert.equal(await backend.load(RULES), undefined)
    assert.equal(backend.limits?.(), undefined)
    assert.ok(model.chain('filter', 'FORWARD')?.[1]?.includes('--name POD2IAM-filter-4'))
  })

  test('is not assumed once rules with canaries were in place', async () => {
    let broken = false
    const { backend } = without((input) => (broken && /-I .*-m recent/.test(input) ? NO_MATCH : undefined))
    await backend.load(RULES)
    assert.equal((await backend.compare()).differs, undefined)
    broken = true
    assert.ok(await backend.load(RULES))
    assert.equal(backend.limits?.(), undefined)
  })
})

test('a deleted canary is a change like any other', () => {
  const chains = createCanaries().add(iptablesRules(RULES, 4), 4)
  const jumps = (withCanaries: boolean) =>
    chains.flatMap(({ table, hook, name, canary }) =>
      hook === undefined
        ? []
        : [
            { table, line: `-A ${hook} -j ${name}` },
            ...(canary && withCanaries ? [{ table, line: `-A ${hook} ${canary} -j ${name}` }] : []),
          ],
    )
  const saved = (withCanaries: boolean) => ({
    chains: new Map(
      chains.map(({ table, name, rules }) => [
        `${table} ${name}`,
        { table, name, rules: rules.map(({ rule }) => ({ rule, packets: 0 })) },
      ]),
    ),
    jumps: jumps(withCanaries),
    first: new Map(chains.map(({ table, hook, name }) => [`${table} ${hook}`, `-j ${name}`])),
  })
  assert.equal(difference(chains, saved(true)), undefined)
  assert.equal(difference(chains, saved(false)), 'was changed')
})
