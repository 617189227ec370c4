/** The life of the sidecar's token: what is set, and what is known as ours whatever it says. */
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

test('a sidecar’s token lives a day, or what the operator says', () => {
  assert.equal(tokenOf(injected()).expirationSeconds, 86_400)
  assert.equal(tokenOf(injected(settings({ tokenExpirationSeconds: 7200 }))).expirationSeconds, 7200)
})

test('a pod injected with another life is ours, and stays as it is', () => {
  for (const life of [3600, 600, 43_200, 172_800]) {
    const other = injected(settings({ tokenExpirationSeconds: life }))
    const decision = decide(other, namespace(), settings())
    const ops = decision.kind === 'patch' ? decision.ops : assert.fail(JSON.stringify(decision))
    // The status tells people of the template, which differs.
    assert.deepEqual(
      ops.filter(({ path }) => path.startsWith('/spec')),
      [],
      String(life),
    )
  }
})

test('what is no life, or differs in anything else, is not ours', () => {
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

test('a life that Kubernetes or the key set does not allow is a mistake of the operator', () => {
  for (const life of ['599', '172801', 'day']) {
    const parsed = parseSettings(SPEC, { argv: [...IMAGES, `--token-expiration-seconds=${life}`], env: {} })
    assert.equal(parsed.ok, false)
  }
})
