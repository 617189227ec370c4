/** `examples/web-identity-tokens.yaml`: who may have a token that STS accepts. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { KEYS } from '../../common/keys.ts'
import { kubeCel, needsCel } from '../chart/kube-cel.ts'
import { violations } from '../sandbox/kube/admission/admission-policies.ts'
import { policiesInForce } from '../sandbox/kube/admission/test-policies.ts'
import { isApiError, isStandIn, type KubeObject } from '../sandbox/kube/client/client.ts'
import { namespace as kubeNamespace, testServer } from '../sandbox/kube/client/test-server.ts'
import { applyPatch, type Dict, decide, namespace, opsOf, pod, settings } from './fixtures.ts'

const EXAMPLE = new URL('../../examples/web-identity-tokens.yaml', import.meta.url)
const OBJECTS = parseAllDocuments(readFileSync(EXAMPLE, 'utf8')).map((document) => document.toJS())
const POLICIES = OBJECTS.filter(({ kind }) => kind === 'ValidatingAdmissionPolicy')
const server = testServer({ controllers: false })
const token = (audience: string) => ({
  projected: { sources: [{ serviceAccountToken: { audience, path: 'token' } }] },
})
let count = 0

test('(set-up) the example is applied', async () => {
  const { admin } = server()
  await admin.create(kubeNamespace('shop', { [KEYS.injection]: 'enabled' }))
  await admin.create(kubeNamespace('other'))
  for (const name of ['shop', 'other'])
    await admin.apply({
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'default', namespace: name },
    })
  for (const object of OBJECTS) await admin.apply(object)
  await policiesInForce(server())
})

/** What is said against the creation of a pod; undefined if nothing. */
async function objection(object: Dict, where = 'shop'): Promise<string | undefined> {
  const metadata = { ...(object.metadata as Dict), name: `pod-${++count}`, namespace: where }
  return refusalOf(server().admin.create({ ...object, metadata } as unknown as KubeObject))
}

async function refusalOf(attempt: Promise<unknown>): Promise<string | undefined> {
  try {
    await attempt
    return undefined
  } catch (error) {
    assert.ok(isApiError(error), String(error))
    return error.message
  }
}

const withVolume = (volume: object) => pod({ volumes: [{ name: 'own', ...volume }] })
const injected = () => {
  const byToken = settings({ credentialSources: ['web-identity'] })
  return applyPatch(pod(), opsOf(decide(pod(), namespace(), byToken))) as { spec: Dict } & Dict
}

test('a pod that projects a token for STS itself is refused in a namespace that is opted in', async () => {
  assert.match((await objection(withVolume(token('sts.amazonaws.com')))) ?? '', /volume own has a token/)
  assert.equal(await objection(withVolume(token('sts.amazonaws.com')), 'other'), undefined)
})

test('tokens for others, and other volumes, are admitted', async () => {
  assert.equal(await objection(withVolume(token('vault'))), undefined)
  assert.equal(await objection(withVolume({ emptyDir: {} })), undefined)
  const projected = { sources: [{ serviceAccountToken: { path: 'token' } }, { configMap: { name: 'x' } }] }
  assert.equal(await objection(withVolume({ projected })), undefined)
})

test('a pod that the injector gave the token is admitted, and no other container may mount it', async () => {
  assert.equal(await objection(injected()), undefined)
  const { spec, ...rest } = injected()
  const volumeMounts = [{ name: 'pod2iam-web-identity', mountPath: '/token' }]
  const containers = [{ name: 'app', image: 'app:1', volumeMounts }]
  assert.match((await objection({ ...rest, spec: { ...spec, containers } })) ?? '', /only for pod2iam/)
  const init = { name: 'init', image: 'app:1', volumeMounts }
  const initContainers = [...(spec.initContainers as Dict[]), init]
  assert.match((await objection({ ...rest, spec: { ...spec, initContainers } })) ?? '', /only for pod2iam/)
})

test('a pod whose containers see each other’s processes is refused if it has the token', async () => {
  const { spec, ...rest } = injected()
  const sharing = { ...rest, spec: { ...spec, shareProcessNamespace: true } }
  assert.match((await objection(sharing)) ?? '', /with shareProcessNamespace other containers could read/)
  assert.equal(await objection(pod({ shareProcessNamespace: true })), undefined)
})

test('only a kubelet may request a token for STS', () => {
  const policy = POLICIES.find(({ metadata }) => metadata.name === 'web-identity-tokens-on-request')
  const said = (groups: string[], audiences?: string[]) =>
    violations(
      policy,
      { object: { spec: audiences === undefined ? {} : { audiences } }, oldObject: undefined } as never,
      { userInfo: { username: 'somebody', groups } },
      undefined,
    ).map(({ message }) => message)
  assert.match(said(['system:masters'], ['vault', 'sts.amazonaws.com']).join(), /^only kubelets may request/)
  assert.deepEqual(said(['system:nodes'], ['sts.amazonaws.com']), [])
  assert.deepEqual(said([], ['vault']), [])
  assert.deepEqual(said([]), [])
})

// The stand-in does not ask policies about tokens.
if (!isStandIn())
  test('the API server refuses such a token to everybody else', async () => {
    const request = (audience: string, where = 'shop') =>
      refusalOf(
        server().admin.post(`/api/v1/namespaces/${where}/serviceaccounts/default/token`, {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'TokenRequest',
          spec: { audiences: [audience], expirationSeconds: 600 },
        }),
      )
    assert.match((await request('sts.amazonaws.com')) ?? '', /only kubelets may request tokens/)
    assert.equal(await request('sts.amazonaws.com', 'other'), undefined)
    assert.equal(await request('vault'), undefined)
  })

test('the CEL compiles in Kubernetes 1.30 and in the newest', needsCel, () => {
  assert.deepEqual(kubeCel({ compatibility: '1.29', objects: POLICIES }).errors, [])
  assert.deepEqual(kubeCel({ objects: POLICIES }).errors, [])
})
