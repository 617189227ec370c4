/** What operators still use from the previous release: command lines of its chart, containers of its pods, and dashboards. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { parseSettings } from '../../common/settings.ts'
import { SPEC as INJECTOR, settingMistakes } from '../../injector/settings.ts'
import { BROKER_SETTINGS, conflicts } from '../../node-guard/broker/settings.ts'
import { GATE_SETTINGS } from '../../node-guard/firewall/gate/settings.ts'
import { conflictOf, GUARD_SETTINGS } from '../../node-guard/firewall/guard/settings.ts'
import { SPEC as SIDECAR } from '../../sidecar/settings.ts'
import { commandLines, metricNames } from '../previous-release/recorded.ts'
import type { CommandLine } from '../previous-release/surface.ts'
import { admittedBy, containerOf, type EnvVar } from './admitted.ts'

const variables = (env: readonly EnvVar[]) =>
  Object.fromEntries(env.map(({ name, value = 'from-the-pod' }) => [name, value]))

/** The mistakes in a command line, as this release reads it. */
const MISTAKES: Readonly<Record<string, (line: CommandLine) => readonly string[]>> = {
  firewall({ args: [command = '', ...argv], env }) {
    assert.equal(command, 'guard')
    const read = parseSettings(GUARD_SETTINGS, { argv, env: variables(env) })
    return read.ok ? [conflictOf(read.settings) ?? []].flat() : read.errors
  },
  broker({ args: argv, env }) {
    const read = parseSettings(BROKER_SETTINGS, { argv, env: variables(env) })
    return read.ok ? conflicts(read.settings) : read.errors
  },
  injector({ args: argv, env }) {
    const read = parseSettings(INJECTOR, { argv, env: variables(env) })
    return read.ok ? settingMistakes(read.settings) : read.errors
  },
  'pre-pull-sidecar': ({ args }) => (args.join() === '--version' ? [] : ['another command']),
}

describe('in what the previous release left', () => {
  for (const line of commandLines())
    test(`the container ${line.container} of its chart with the values ${line.set} has no setting that was removed`, () => {
      assert.deepEqual(MISTAKES[line.container]?.(line), [])
    })

  test('every program that its chart starts is checked', () => {
    const started = new Set(commandLines().map(({ container }) => container))
    assert.deepEqual([...started].sort(), Object.keys(MISTAKES).sort())
  })

  for (const { name, admitted } of admittedBy('previous'))
    test(`sidecar and gate of a running pod (${name}) have no setting that was removed`, () => {
      const [sidecar, gate] = ['pod2iam-sidecar', 'pod2iam-gate'].map((name) => containerOf(admitted, name))
      const { args: [command, ...argv] = [], env = [] } = gate ?? {}
      assert.equal(command, 'redirect')
      for (const read of [
        parseSettings(SIDECAR, { argv: [...(sidecar?.args ?? [])], env: variables(sidecar?.env ?? []) }),
        parseSettings(GATE_SETTINGS, { argv, env: variables(env) }),
      ])
        assert.deepEqual(read.ok ? [] : read.errors, [])
    })

  test('all metrics on its dashboards still exist', () => {
    const page = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8')
    const names = metricNames()
    assert.ok(names.length > 40)
    assert.deepEqual(
      names.filter((name) => !page.includes(`| \`${name}\` |`)),
      [],
    )
  })
})
