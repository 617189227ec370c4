/** The lifetime of the sidecar's token: what is set, and which lifetimes are accepted as ours. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseSettings } from '../../common/settings.ts'
import { SPEC } from '../../injector/settings.ts'
import { applyPatch, type Dict, decide, IMAGES, namespace, opsOf, pod, settings } from './fixtures.ts'

type Token = { readonly audience: string; expirationSeconds?: unknown; readonly path: string }
type Volume = { readonly name: string; readonly projected?: { sources: { serviceAccountToken: Token }[] } }
type Injected = Dict & { readonly spec: { readonly volumes: Volume[] } }

const injected = (by = settings()) => applyPatch(pod(), opsOf(decide(pod(), namespace(), by))) as Injected
const tokenOf = ({ spec }: Injected): Token => {
  const token = spec.volumes.find(({ name }) => name === 'pod2iam-token')?.projected?.sources[0]
  assert.ok(token)
  return token.serviceAccountToken
}

test('the sidecar’s token has a lifetime of a day, unless the operator chooses another one', () => {
  assert.equal(tokenOf(injected()).expirationSeconds, 86_400)
  assert.equal(tokenOf(injected(settings({ tokenExpirationSeconds: 7200 }))).expirationSeconds, 7200)
})

test('a pod that was injected with another token lifetime is accepted unchanged', () => {
  for (const life of [3600, 600, 43_200, 172_800]) {
    const other = injected(settings({ tokenExpirationSeconds: life }))
    const decision = decide(other, namespace(), settings())
    const ops = decision.kind === 'patch' ? decision.ops : assert.fail(JSON.stringify(decision))
    // The status annotation has the hash of the template, which differs.
    assert.deepEqual(
      ops.filter(({ path }) => path.startsWith('/spec')),
      [],
      String(life),
    )
  }
})

test('a pod is denied if the token’s lifetime is invalid, or if anything else in the token differs', () => {
  const wrong: ((token: Dict) => void)[] = [
    ...[599, 172_801, 0, -1, 3600.5, '3600', null, undefined].map((life) => (token: Dict) => {
      token.expirationSeconds = life
    }),
    (token) => {
      token.audience = 'sts.amazonaws.com'
    },
    (token) => {
      token.path = 'other'
    },
  ]
  for (const change of wrong) {
    const other = injected(settings({ tokenExpirationSeconds: 3600 }))
    change(tokenOf(other) as Dict)
    const decision = decide(other, namespace(), settings())
    assert.equal(decision.kind, 'deny', JSON.stringify(tokenOf(other)))
  }
  const more = injected()
  more.spec.volumes
    .find(({ name }) => name === 'pod2iam-token')
    ?.projected?.sources.push({ serviceAccountToken: { audience: 'vault', path: 'vault' } })
  assert.equal(decide(more, namespace(), settings()).kind, 'deny')
})

test('a token lifetime that Kubernetes or the key set does not allow is an invalid setting', () => {
  for (const life of ['599', '172801', 'day']) {
    const parsed = parseSettings(SPEC, { argv: [...IMAGES, `--token-expiration-seconds=${life}`], env: {} })
    assert.equal(parsed.ok, false)
  }
})
