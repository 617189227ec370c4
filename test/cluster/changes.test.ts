/** The changes are those of the injector's own tests, and the chart turns each value into the flags that it means. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseSettings } from '../../common/settings.ts'
import { CHANGES, OTHER_KEY } from '../injector/injected-settings.ts'
import { needsPeer } from '../peers/peers.ts'
import { type Change, changesOf } from './changes.ts'
import { type ChartValues, valuesOf } from './context.ts'
import { objectsOf, template, withValues } from './install/helm.ts'
import { OPTIONS, type Options } from './options.ts'

const parsed = parseSettings(OPTIONS, {
  argv: ['--other-registry=mirror.example', '--other-tag=next'],
  env: {},
})
assert.ok(parsed.ok)
const options: Options = parsed.settings
const AWS = {
  baseRoleArn: 'arn:aws:iam::111111111111:role/',
  brokerEnvironment: [],
} as unknown as Parameters<typeof valuesOf>[0]['aws']
/** Where this test changes something else than the injector's tests do: other images. */
const IMAGES: Readonly<Record<string, readonly string[]>> = {
  'the registry': [
    '--sidecar-image=mirror.example/pod2iam/sidecar:0.1.0',
    '--node-guard-image=mirror.example/pod2iam/node-guard:0.1.0',
  ],
  'a tag': [
    '--sidecar-image=ghcr.io/pod2iam/sidecar:next',
    '--node-guard-image=ghcr.io/pod2iam/node-guard:next',
  ],
}

test('the role key and every setting that changes what is injected are changed on a cluster', () => {
  assert.deepEqual(Object.keys(changesOf(options)), [...Object.keys(CHANGES), 'roleKey'])
})

test('another registry and another tag are reported as left out if no option names them', () => {
  const leftOut = Object.values(changesOf({})).flatMap((change) => change.leftOut ?? [])
  assert.deepEqual(leftOut, [
    '--other-registry names no second registry of the images',
    '--other-tag names no second tag of the images',
  ])
})

describe('the values of the change', needsPeer('helm'), () => {
  const injectorArgs = async (more: ChartValues) => {
    const values = valuesOf({ options, aws: AWS, run: { id: 'a' } }, { more })
    const objects = objectsOf(await withValues(options, values, (files) => template(options, files)))
    type Deployment = { spec: { template: { spec: { containers: { args: string[] }[] } } } }
    const deployment = objects.find(({ kind }) => kind === 'Deployment') as unknown as Deployment
    return deployment.spec.template.spec.containers[0]?.args ?? []
  }
  for (const [name, { values }] of Object.entries<Change>(changesOf(options)))
    test(`${name} change exactly the expected flags of the injector`, async () => {
      const before = new Set(await injectorArgs({}))
      const changed = (await injectorArgs(values)).filter((flag) => !before.has(flag))
      assert.deepEqual(changed, IMAGES[name] ?? CHANGES[name] ?? [`--role-key=${OTHER_KEY}`])
    })
})
