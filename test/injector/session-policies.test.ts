/** Session policies at admission: read strictly, frozen in the sidecar's env, and refused where they could not be honoured. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { validate } from '../../injector/admission/validate.ts'
import type { InjectionSettings } from '../../injector/injection-settings.ts'
import { effectiveSettings } from '../../injector/peers/effective-settings.ts'
import { readPeer } from '../../injector/peers/peer.ts'
import { misspeltKeys } from '../../injector/warnings/misspelt-keys.ts'
import { podValues } from '../../injector/warnings/misspelt-values.ts'
import {
  applyPatch,
  type Dict,
  decide,
  decideFinal,
  IMAGES,
  namespace,
  opsOf,
  pod,
  settings,
  withApiServerDefaults,
} from './fixtures.ts'
import { strictPod } from './replica-pods.ts'

const OWN = 'arn:aws:iam::111111111111:policy/logs'
const POLICIES = `["${OWN}","arn:aws:iam::aws:policy/ReadOnlyAccess"]`
const KEY = KEYS.sessionPolicyArns

const narrowed = (text: string | null = POLICIES, annotations: Record<string, string> = {}) =>
  pod({}, { ...(text === null ? {} : { [KEY]: text }), ...annotations })
type Injected = Dict & {
  readonly metadata: { readonly annotations: Record<string, string> }
  readonly spec: { readonly initContainers: Dict[] }
}
const injected = (of: Dict = narrowed(), by: Partial<InjectionSettings> = {}) =>
  applyPatch(of, opsOf(decide(of, namespace(), settings(by)))) as Injected
const envOf = ({ spec }: Injected) =>
  spec.initContainers.find(({ name }) => name === 'pod2iam-sidecar')?.env as { name: string; value: string }[]
const valuesOf = (one: Injected) => Object.fromEntries(envOf(one).map(({ name, value }) => [name, value]))
const refusal = (decision: object) =>
  'sentence' in decision && 'reason' in decision ? `${decision.reason}: ${decision.sentence}` : 'not refused'
const final = (one: Dict, by: InjectionSettings = settings()) => refusal(decideFinal(one, namespace(), by))

describe('session policies', () => {
  it('are frozen in the sidecar’s env, with an identity source that no older broker knows', () => {
    const { POD2IAM_IDENTITY, POD2IAM_SESSION_POLICIES } = valuesOf(injected())
    assert.deepEqual([POD2IAM_IDENTITY, POD2IAM_SESSION_POLICIES], ['annotation-narrowed', POLICIES])
    const plain = valuesOf(injected(narrowed(null)))
    assert.deepEqual(
      [plain.POD2IAM_IDENTITY, plain.POD2IAM_SESSION_POLICIES],
      ['annotation', undefined],
      'a pod without them is injected as before',
    )
  })
  it('are unchanged when the webhook is called again, and admitted at the end', () => {
    const one = withApiServerDefaults(injected())
    assert.deepEqual(opsOf(decide(one, namespace(), settings())), [])
    assert.equal(final(one), 'not refused')
  })
  it('are refused where they are no valid list of policies in the role’s account', () => {
    for (const [text, sentence] of [
      [OWN, /^invalid-annotation: annotation iam\.amazonaws\.com\/session-policy-arns must be a JSON array/],
      ['[]', /^invalid-annotation: .*must name 1 to 10/],
      [JSON.stringify(Array(11).fill(OWN)), /^invalid-annotation: .*must name 1 to 10 .* not 11/],
      [`["${OWN}","${OWN}"]`, /^invalid-annotation: .*twice/],
      ['["arn:aws:iam::222222222222:policy/logs"]', /^invalid-annotation: .*neither in the account of role/],
      ['["arn:aws:iam::111111111111:policy/$(X)"]', /^invalid-annotation: .*is not a managed policy ARN/],
    ] as const) {
      assert.match(refusal(decide(narrowed(text), namespace(), settings())), sentence)
      assert.match(final(narrowed(text)), sentence)
    }
  })
  it('are compared with the account of a role by name, where the base ARN is known', () => {
    const other = narrowed('["arn:aws:iam::222222222222:policy/logs"]', { [KEYS.role]: 'shop-orders' })
    const by = (base: string | undefined) => settings({ policy: { ...settings().policy, base } })
    const where = { ...namespace(), annotations: { [KEYS.allowedRoles]: '["*"]' } }
    const base = 'arn:aws:iam::111111111111:role/'
    assert.match(refusal(decide(other, where, by(base))), /neither in the account of role "arn:aws:iam::1/)
    assert.equal(decide(other, where, by(undefined)).kind, 'patch', 'the broker judges it')
  })
  it('narrow a default role as well, and must be valid even where there are no credentials to narrow', () => {
    const all = { name: 'shop', labels: { [KEYS.injection]: 'all' }, annotations: namespace().annotations }
    const asked = pod({}, { [KEY]: POLICIES }) as { metadata: { annotations: Record<string, string> } }
    delete asked.metadata.annotations[KEYS.role]
    const one = applyPatch(asked, opsOf(decide(asked, all, settings()))) as unknown as Injected
    assert.equal(valuesOf(one).POD2IAM_IDENTITY, 'default-narrowed')
    assert.match(
      refusal(decide(narrowed('x', { [KEYS.inject]: 'metadata' }), namespace(), settings())),
      /^inv/,
    )
  })
  it('are corrected in a pod that was copied with others, and cannot be removed from the env afterwards', () => {
    const copied = { ...injected(), metadata: injected(narrowed(`["${OWN}"]`)).metadata }
    assert.match(final(copied), /^not-injected: .*identity in the environment .* is not the one in its annot/)
    const right = injected(copied)
    assert.equal(valuesOf(right).POD2IAM_SESSION_POLICIES, `["${OWN}"]`)
    assert.equal(final(right), 'not refused')
    for (const spoil of [
      (env: Dict[]) =>
        env.splice(
          env.findIndex(({ name }) => name === 'POD2IAM_SESSION_POLICIES'),
          1,
        ),
      (env: Dict[]) =>
        Object.assign(env.find(({ name }) => name === 'POD2IAM_IDENTITY') ?? {}, { value: 'annotation' }),
      (env: Dict[]) =>
        Object.assign(env.find(({ name }) => name === 'POD2IAM_SESSION_POLICIES') ?? {}, { value: '["x"]' }),
    ]) {
      const one = structuredClone(right)
      spoil(envOf(one))
      assert.match(final(one), /^not-injected/)
    }
  })
  it('cannot be changed on a living pod', async () => {
    for (const [before, after] of [
      [POLICIES, `["${OWN}"]`],
      [POLICIES, null],
      [null, POLICIES],
    ] as const) {
      const review = {
        ...{ namespace: 'shop', operation: 'UPDATE', resource: 'pods', subResource: 'status' },
        ...{ object: narrowed(after), oldObject: narrowed(before) },
      }
      const context = { lookUpNamespace: async () => namespace(), inTurn: (work: () => unknown) => work() }
      const verdict = await validate(review as never, context as never, settings())
      assert.match(
        refusal(verdict),
        /^identity-changed: annotation iam\.amazonaws\.com\/session-policy-arns of/,
      )
    }
  })
  it('cause a warning on a template where they are invalid or misspelt, and on a namespace', () => {
    assert.match(podValues({ [KEY]: OWN }).join(), /session-policy-arns must be a JSON array/)
    assert.deepEqual(podValues({ [KEY]: POLICIES }), [])
    const keys = (key: string, place: 'pod' | 'namespace') =>
      misspeltKeys({ annotations: { [key]: POLICIES }, labels: {} }, place, KEYS.role).join()
    assert.match(keys('iam.amazonaws.com/session-policy-arn', 'pod'), /session-policy-arns/)
    assert.match(keys(KEY, 'namespace'), /belongs on/)
    assert.equal(keys(KEY, 'pod'), '')
  })
})

describe('while a replica of 0.1.0 serves,', () => {
  const strict = readPeer({
    ...strictPod('old', IMAGES),
    metadata: { uid: 'a', ...(strictPod('old', IMAGES).metadata as Dict) },
  })
  it('pods with session policies are refused, since it would leave the policies out, and other pods are injected', () => {
    const among = effectiveSettings(settings(), [strict ?? assert.fail()])
    for (const refused of [refusal(decide(narrowed(), namespace(), among)), final(injected(), among)])
      assert.match(refused, /cannot be honoured while an injector of a release before it is still serving/)
    assert.equal(decide(narrowed(null), namespace(), among).kind, 'patch')
  })
  it('a pod that it injected without the session policies is refused at the end', () => {
    const theirs = injected(narrowed(null))
    const annotations = { ...theirs.metadata.annotations, [KEY]: POLICIES }
    const asking = { ...theirs, metadata: { ...theirs.metadata, annotations } }
    assert.match(final(asking), /^not-injected: .*identity/)
  })
})

describe('with web identity,', () => {
  const where = {
    ...namespace(),
    annotations: { ...namespace().annotations, [KEYS.credentialSource]: 'web-identity' },
  }
  const BOTH = { credentialSources: ['node-role', 'web-identity'] } as const
  it('session policies are honoured', () => {
    const one = applyPatch(
      narrowed(),
      opsOf(decide(narrowed(), where, settings(BOTH))),
    ) as unknown as Injected
    assert.equal(valuesOf(one).POD2IAM_SESSION_POLICIES, POLICIES)
    assert.equal(decideFinal(one, where, settings(BOTH)).kind, 'allow')
  })
  it('pods are refused where the operator demands a source identity', () => {
    const by = settings({ ...BOTH, sourceIdentity: '{namespace}.{service-account}' })
    assert.match(
      refusal(decide(pod(), where, by)),
      /which has none of the source identity \(broker\.sourceIdentity\) that the operator demands/,
    )
    assert.equal(decide(pod(), namespace(), by).kind, 'patch')
  })
})
