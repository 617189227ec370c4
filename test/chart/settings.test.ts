/** The flags that the chart gives to each process, read by that process's own settings. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { parseSettings, type Setting } from '../../common/settings.ts'
import { SPEC as INJECTOR, settingMistakes } from '../../injector/settings.ts'
import { BROKER_SETTINGS, conflicts } from '../../node-guard/broker/settings.ts'
import { conflictOf, GUARD_SETTINGS } from '../../node-guard/firewall/guard/settings.ts'
import { BROKER_NODE_FLAGS } from '../sandbox/install.ts'
import { find, needsHelm, objectsOf, type Rendered, render, SETS, template } from './helm.ts'

type Spec = Record<string, Setting<unknown>>
type Container = {
  readonly name: string
  readonly command?: readonly string[]
  readonly args: readonly string[]
  readonly env?: readonly { readonly name: string; readonly value?: string }[]
}

/** Settings that no value of the chart sets, and why. */
const NOT_IN_THE_CHART: Readonly<Record<string, readonly string[]>> = {
  injector: [
    // The injector runs in the cluster.
    'kubeconfig',
  ],
  broker: [
    'kubeconfig',
    // Contracts with the sidecars: the injector writes addresses, port and audience into every pod.
    'listen',
    'port',
    'audience',
    // This is a volume of the DaemonSet.
    'stateDir',
  ],
  firewall: [
    'stateDir',
    // Contracts again: the gate in every pod must have the same value.
    'metadataAddress',
    'brokerAddress',
    // It does nothing, and is accepted only for users of kube2iam who start the guard by hand.
    'hostInterface',
  ],
}

const SPECS: Readonly<Record<string, Spec>> = {
  injector: INJECTOR,
  broker: BROKER_SETTINGS,
  firewall: GUARD_SETTINGS,
}

function containers(set: string): Container[] {
  return containersOf(template(set))
}

function containersOf(text: string): Container[] {
  const objects = objectsOf(text)
  return [find(objects, 'Deployment'), find(objects, 'DaemonSet')].flatMap((object) => {
    const { spec } = (object as Rendered & { spec: { template: { spec: Record<string, unknown> } } }).spec
      .template
    return [...((spec.initContainers as Container[]) ?? []), ...(spec.containers as Container[])]
  })
}

/** A container's settings as its process reads them; the variables that the kubelet sets are made up. */
function read(spec: Spec, { name, args, env = [] }: Container) {
  const variables = Object.fromEntries(env.map(({ name, value = 'node-1' }) => [name, value]))
  return parseSettings(spec, { argv: name === 'firewall' ? args.slice(1) : args, env: variables })
}

describe('the flags in the chart', needsHelm, () => {
  for (const set of SETS)
    test(`are read without an error with the values ${set}`, () => {
      for (const container of containers(set)) {
        const spec = SPECS[container.name]
        if (spec === undefined) continue
        const result = read(spec, container)
        assert.ok(result.ok, result.ok ? '' : `${container.name}: ${result.errors.join('\n')}`)
      }
    })

  test('do not contradict each other in any process', () => {
    for (const set of SETS)
      for (const container of containers(set)) {
        if (container.name === 'injector') {
          const result = parseSettings(INJECTOR, { argv: container.args, env: { POD2IAM_POD_NAME: 'i' } })
          assert.deepEqual(result.ok && settingMistakes(result.settings), [], set)
        }
        if (container.name === 'broker') {
          const result = parseSettings(BROKER_SETTINGS, {
            argv: container.args,
            env: { POD2IAM_NODE_NAME: 'n' },
          })
          assert.deepEqual(result.ok && conflicts(result.settings), [], set)
        }
        if (container.name === 'firewall') {
          const result = parseSettings(GUARD_SETTINGS, { argv: container.args.slice(1), env: {} })
          assert.equal(result.ok && conflictOf(result.settings), undefined, set)
        }
      }
  })

  test('keep any characters of a value', () => {
    const values = {
      'policy.permittedRoles': ['arn:aws:iam::111111111111:role/a #b', '*'],
      'policy.defaultRole': `{"a":&b'c}#--role-key=other`,
      'policy.baseRoleArn': 'arn:aws:iam::111111111111:role/a #b/',
      'broker.clusterName': 'prod: eu',
      'broker.sessionTags': true,
      'broker.issuer': 'https://x # "y"',
      'broker.assumeRoleArn': 'arn:aws:iam::111111111111:role/a\t#b',
      'broker.metadataAllow': ['tags/: instance/', '\\\u2028'],
      'sidecar.resourcesMax': { cpu: '1', memory: '256Mi' },
    }
    const flags = Object.entries(values).flatMap(([key, value]) => [
      '--set-json',
      `${key}=${JSON.stringify(value)}`,
    ])
    const said = Object.fromEntries(
      containersOf(render('default', ...flags)).map(({ name, args }) => [
        name,
        Object.fromEntries(args.map((flag) => [flag.split('=', 1)[0], flag.slice(flag.indexOf('=') + 1)])),
      ]),
    )
    const shared = {
      '--permitted-roles': values['policy.permittedRoles'].join(','),
      '--default-role': values['policy.defaultRole'],
      '--base-role-arn': values['policy.baseRoleArn'],
      '--role-key': 'iam.amazonaws.com/role',
    }
    const expected = {
      injector: { ...shared, '--sidecar-resources-max': JSON.stringify(values['sidecar.resourcesMax']) },
      broker: {
        ...shared,
        '--cluster-name': values['broker.clusterName'],
        '--issuer': values['broker.issuer'],
        '--assume-role-arn': values['broker.assumeRoleArn'],
        '--metadata-allow': values['broker.metadataAllow'].join(','),
      },
    }
    for (const [name, flagsOfIt] of Object.entries(expected))
      for (const [flag, value] of Object.entries(flagsOfIt))
        assert.equal(said[name]?.[flag], value, `${name} ${flag}`)
  })

  test('cover every setting, except for those listed here with their reason', () => {
    const said: Record<string, Set<string>> = {}
    for (const set of SETS)
      for (const { name, args, env = [] } of containers(set)) {
        const flags = [
          ...args.map((flag) => /^--([a-z0-9-]+)/.exec(flag)?.[1] ?? ''),
          ...env.map((variable) =>
            variable.name
              .replace(/^POD2IAM_/, '')
              .toLowerCase()
              .replaceAll('_', '-'),
          ),
        ]
        const camelCase = flags.map((flag) =>
          flag.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase()),
        )
        said[name] = new Set([...(said[name] ?? []), ...camelCase])
      }
    for (const [name, spec] of Object.entries(SPECS)) {
      const missing = Object.keys(spec).filter((setting) => !said[name]?.has(setting))
      assert.deepEqual(missing.sort(), [...(NOT_IN_THE_CHART[name] ?? [])].sort(), name)
    }
  })

  test('run the broker with the measured flags of node', () => {
    const broker = containers('default').find(({ name }) => name === 'broker')
    assert.deepEqual(broker?.command, ['/nodejs/bin/node', ...BROKER_NODE_FLAGS, '/pod2iam/broker.cjs'])
  })
})

test('the chart has the version of the project', () => {
  const chart = readFileSync(new URL('../../charts/pod2iam/Chart.yaml', import.meta.url), 'utf8')
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  for (const key of ['version', 'appVersion']) assert.match(chart, new RegExp(`^${key}: ${version}$`, 'm'))
})
