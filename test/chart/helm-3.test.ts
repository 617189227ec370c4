/** Helm 3 renders the chart as helm 4 does; real-api-server.test.ts tests that both install it. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { needsPeer } from '../peers/peers.ts'
import {
  CHART,
  flagsOf,
  type Helm,
  helmOf,
  needsHelm,
  objectsOf,
  type Rendered,
  renderBy,
  SETS,
  template,
} from './helm.ts'

/** A value that the schema refuses, one that the chart refuses with its own sentence, and a Kubernetes that is too old. */
const REFUSED = [
  '--set=guard.mode=off',
  '--set=guard.backend=iptables,guard.ownedTable=true',
  '--kube-version=1.28.9',
]

describe('helm 3', { ...needsHelm, ...needsPeer('helm3') }, () => {
  for (const set of SETS) {
    test(`renders ${set} as helm 4 does`, () => {
      // Helm 3 renders the objects in its own order.
      assert.deepEqual(byName(renderBy('helm3', set)), byName(template(set)))
    })

    test(`passes lint with the values ${set}`, () => {
      const [values = '', file = '', ...capabilities] = flagsOf(set)
      const version = capabilities.find((flag) => flag.startsWith('--kube-version')) ?? ''
      assert.match(helmOf('helm3', 'lint', '--strict', CHART, values, file, version), / 0 chart\(s\) failed/)
    })
  }

  for (const flag of REFUSED)
    test(`refuses ${flag} with the same message`, () => {
      assert.equal(refusal('helm3', flag), refusal('helm', flag))
    })
})

function byName(text: string): Record<string, Rendered> {
  return Object.fromEntries(
    objectsOf(text).map((object) => {
      const { namespace, name } = object.metadata
      return [`${object.kind} ${namespace}/${name}`, object]
    }),
  )
}

function refusal(name: Helm, flag: string): string {
  try {
    helmOf(name, 'template', 'pod2iam', CHART, '--kube-version=1.34.0', flag)
  } catch (error) {
    return (error as { stderr?: string }).stderr ?? ''
  }
  return assert.fail('nothing was refused')
}
