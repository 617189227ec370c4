/**
 * What release 0.1.0 wrote into pods, recorded with its own code: it accepts no other containers and volumes as its own, so this
 * release must write the same while a replica of 0.1.0 serves. A new variable of the sidecar must be left out in that case
 * (`peers/effective-settings.ts`).
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

/** Settings of this replica that differ from each of the recorded ones in everything that is injected. */
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

/** 0.1.0 only requires that there are resources, since others may change them; this release changes those of the gate. */
const asJudgedBy010 = (containers: readonly Dict[]) =>
  containers.map((one) => (one.name === 'pod2iam-gate' ? { ...one, resources: typeof one.resources } : one))

describe('beside a replica of 0.1.0,', () => {
  const among = (setting: string) => {
    const args = CASES[setting] ?? assert.fail(`no settings ${setting}`)
    const peer = readPeer({
      metadata: { name: 'old', uid: 'old' },
      spec: { containers: [{ name: 'injector', args }] },
    })
    assert.ok(peer)
    return effectiveSettings(OWN, [peer])
  }
  it('each recorded result is compared', () => {
    assert.equal(RECORDED.length, Object.keys(CASES).length * Object.keys(PODS).length)
  })
  for (const [setting, what, written] of RECORDED) {
    const pod = PODS[what] ?? {}
    it(`a pod with ${what} is written as 0.1.0 wrote it with another value of: ${setting}`, () => {
      const { spec } = applyPatch(pod, opsOf(decide(pod, NAMESPACE, among(setting)))) as { spec: Written }
      assert.deepEqual(asJudgedBy010(spec.initContainers), asJudgedBy010(written.initContainers))
      assert.deepEqual(spec.volumes, written.volumes)
    })
    it(`what 0.1.0 wrote into a pod with ${what} is accepted as ours with another value of: ${setting}`, () => {
      const old = { ...pod, spec: { ...(pod.spec as Dict), ...written } }
      const decision = decide(old, NAMESPACE, among(setting))
      assert.equal(decision.kind, 'patch', 'sentence' in decision ? decision.sentence : decision.reason)
      const paths = opsOf(decision).map(({ path }) => path)
      assert.deepEqual(
        paths.filter((path) => /^\/spec\/(?:initContainers|volumes)/.test(path)),
        [],
      )
    })
  }
})
