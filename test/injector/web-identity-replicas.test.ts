/** A namespace that names its credential source, while replicas with different `--credential-sources` serve. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import type { InjectionSettings } from '../../injector/injection-settings.ts'
import { effectiveSettings } from '../../injector/peers/effective-settings.ts'
import { type Peer, readPeer } from '../../injector/peers/peer.ts'
import { namespaceValues } from '../../injector/warnings/misspelt-values.ts'
import {
  applyPatch,
  type Dict,
  decide,
  decideFinal,
  namespace,
  opsOf,
  pod,
  settings,
  withApiServerDefaults,
} from './fixtures.ts'
import { strictPod } from './replica-pods.ts'

const OLD = settings({ credentialSources: ['node-role'] })
const NEW = settings({ credentialSources: ['node-role', 'web-identity'], webIdentityAudience: 'vault' })
const peer = (of: typeof OLD): Peer => ({
  ...{ uid: 'other', name: 'other', image: 'injector', createdAt: '2026-01-01T00:00:00Z', settings: of },
  ...{ hasEnded: false, isTerminating: false, isStrict: false },
})
const choosing = (source: string) => {
  const plain = namespace()
  return { ...plain, annotations: { ...plain.annotations, [KEYS.credentialSource]: source } }
}
const CHOOSING = choosing('web-identity')
const injected = (by: InjectionSettings, one = pod()) =>
  applyPatch(one, opsOf(decide(one, CHOOSING, by))) as Dict & { readonly spec: { readonly volumes: Dict[] } }
const tokenOf = ({ spec }: ReturnType<typeof injected>) =>
  JSON.stringify(spec.volumes.find(({ name }) => name === 'pod2iam-web-identity'))

const [oldOne, newOne] = [effectiveSettings(OLD, [peer(NEW)]), effectiveSettings(NEW, [peer(OLD)])]

// docs/decisions/0132: "Replicas of this release with different `--credential-sources` accept what the other one chose while both serve".
test('what one replica chose because of the annotation is accepted by one whose list does not have it', () => {
  for (const writes of [oldOne, newOne])
    for (const by of [oldOne, newOne, effectiveSettings(OLD, [], [NEW])]) {
      const one = withApiServerDefaults(injected(writes))
      const decision = decideFinal(one, CHOOSING, by)
      assert.equal(decision.kind, 'allow', JSON.stringify(decision))
      assert.deepEqual(opsOf(decide(one, CHOOSING, by)), [])
    }
})

test('a replica whose list does not have the source of a namespace follows those that have it, also with their audience', () => {
  assert.match(tokenOf(injected(oldOne)) ?? '', /"audience":"vault"/)
  assert.equal(tokenOf(injected(oldOne)), tokenOf(injected(newOne)))
  assert.deepEqual(namespaceValues(CHOOSING, oldOne), [])
})

test('without such a replica, and for other values, the replica’s own list decides', () => {
  for (const [by, source] of [
    [OLD, 'web-identity'],
    [oldOne, 'webidentity'],
    [newOne, 'webidentity'],
  ] as const)
    assert.equal(decide(pod(), choosing(source), by).kind, 'deny', source)
  const plain = applyPatch(pod(), opsOf(decide(pod(), namespace(), oldOne))) as ReturnType<typeof injected>
  assert.equal(tokenOf(plain), undefined)
})

test('while a replica of 0.1.0 serves, too, all write the node’s role and accept each other’s pods', () => {
  const { metadata, ...old } = strictPod('old') as Dict & { metadata: Dict }
  const strict = readPeer({ ...old, metadata: { ...metadata, uid: 'strict' } }) ?? assert.fail()
  const among = [effectiveSettings(OLD, [peer(NEW), strict]), effectiveSettings(NEW, [peer(OLD), strict])]
  for (const writes of among)
    for (const by of among) {
      const one = injected(writes)
      assert.equal(tokenOf(one), undefined)
      assert.equal(decideFinal(withApiServerDefaults(one), CHOOSING, by).kind, 'allow')
    }
})
