/**
 * What release 0.1.0 wrote into pods, recorded with its own code: it takes no other containers and volumes for its own, so beside it
 * this release must write the same. Whoever adds a variable to the sidecar has to leave it out there (`peers/effective-settings.ts`).
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { effectiveSettings } from '../../injector/peers/effective-settings.ts'
import { readPeer } from '../../injector/peers/peer.ts'
import { applyPatch, type Dict, decide, opsOf, settings } from './fixtures.ts'
import { CASES, NAMESPACE, PODS } from './previous-cases.ts'

type Written = { readonly initContainers: readonly Dict[]; readonly volumes: readonly Dict[] }

const RECORDED: readonly [setting: string, pod: string, written: Written][] = JSON.parse(
  readFileSync(new URL('golden/release-0.1.0.json', import.meta.url), 'utf8'),
)

/** Settings of this replica that differ from each of the recorded ones, in whatever is injected. */
const OWN = settings({
  sidecarImage: 'new.example.com/sidecar:2',
  nodeGuardImage: 'new.example.com/node-guard:2',
  imagePullPolicy: 'Never',
  redirect: 'env',
  imdsTokens: 'required',
  startupGate: 'off',
  sidecarLogLevel: 'error',
  gateProof: 'report',
  gateAcceptDrop: true,
  tokenExpirationSeconds: 43_200,
  roleKey: 'new.example.com/role',
})

/** It asks only that there are resources: others may change them, and of the gate this release does. */
const judgedByIt = (containers: readonly Dict[]) =>
  containers.map((one) => (one.name === 'pod2iam-gate' ? { ...one, resources: typeof one.resources } : one))

describe('beside a replica of 0.1.0', () => {
  const among = (setting: string) => {
    const args = CASES[setting] ?? assert.fail(`no settings ${setting}`)
    const peer = readPeer({
      metadata: { name: 'old', uid: 'old' },
      spec: { containers: [{ name: 'injector', args }] },
    })
    assert.ok(peer)
    return effectiveSettings(OWN, [peer])
  }
  it('all that was recorded is compared', () => {
    assert.equal(RECORDED.length, Object.keys(CASES).length * Object.keys(PODS).length)
  })
  for (const [setting, what, written] of RECORDED) {
    const pod = PODS[what] ?? {}
    it(`a pod with ${what} is written as that one writes it, which changes: ${setting}`, () => {
      const { spec } = applyPatch(pod, opsOf(decide(pod, NAMESPACE, among(setting)))) as { spec: Written }
      assert.deepEqual(judgedByIt(spec.initContainers), judgedByIt(written.initContainers))
      assert.deepEqual(spec.volumes, written.volumes)
    })
    it(`what that one wrote into a pod with ${what} is taken for ours, which changes: ${setting}`, () => {
      const its = { ...pod, spec: { ...(pod.spec as Dict), ...written } }
      const decision = decide(its, NAMESPACE, among(setting))
      assert.equal(decision.kind, 'patch', 'sentence' in decision ? decision.sentence : decision.reason)
      const paths = opsOf(decision).map(({ path }) => path)
      assert.deepEqual(
        paths.filter((path) => /^\/spec\/(?:initContainers|volumes)/.test(path)),
        [],
      )
    })
  }
})
