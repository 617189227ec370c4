import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { describe, it } from 'node:test'
import { type Certified, issueAuthority, issueLeaf } from '../../injector/certificates/issue.ts'
import {
  type AuthorityState,
  advance,
  bundleOf,
  LIFETIMES,
  leafIsDue,
} from '../../injector/certificates/rotation.ts'

const DAY = 24 * 3600_000
const MINUTE = 60_000
const T0 = Date.UTC(2026, 10, 24)

let serial = 0
const issueAt = (now: number) => async (): Promise<Certified> => {
  const name = `ca${++serial}`
  return { cert: name, key: `key of ${name}`, notBefore: now, notAfter: now + LIFETIMES.authority }
}
const step = (state: AuthorityState | undefined, now: number, isPublished = true) =>
  advance(state, isPublished, now, issueAt(now))

describe('the rotation of the authority', () => {
  it('begins with one authority, and keeps it for two thirds of its life', async () => {
    const state = await step(undefined, T0)
    assert.equal(state.current.notAfter, T0 + 365 * DAY)
    assert.equal(await step(state, T0 + 243 * DAY), state)
  })

  it('publishes the next authority, waits, promotes it, and removes the old one when its last leaf has expired', async () => {
    const first = await step(undefined, T0)
    const due = T0 + 244 * DAY
    const published = await step(first, due)
    assert.equal(published.current.cert, first.current.cert, 'the old one still signs')
    assert.equal(bundleOf(published, due), `${first.current.cert}${published.next?.cert}`)

    assert.equal(await step(published, due + 9 * MINUTE), published, 'API servers get time to load it')
    assert.equal(
      await step(published, due + 60 * MINUTE, false),
      published,
      'it must have been seen in the live bundle',
    )

    const promoted = await step(published, due + 10 * MINUTE)
    assert.equal(promoted.current.cert, published.next?.cert)
    assert.equal(promoted.next, undefined)
    assert.equal(bundleOf(promoted, due + 10 * MINUTE), `${promoted.current.cert}${first.current.cert}`)
    assert.doesNotMatch(JSON.stringify(promoted), new RegExp(first.current.key), 'the old key is removed')

    const later = due + 10 * MINUTE + DAY
    assert.equal(await step(promoted, later), promoted, 'a leaf of the old one may still serve')
    const forgotten = await step(promoted, later + 1)
    assert.deepEqual(forgotten, { version: 1, current: promoted.current })
  })

  it('begins again when the authority has expired', async () => {
    const first = await step(undefined, T0)
    const anew = await step(first, T0 + 366 * DAY)
    assert.notEqual(anew.current.cert, first.current.cert)
    assert.equal(anew.previous, undefined)
  })

  it('keeps expired authorities out of the bundle', async () => {
    const first = await step(undefined, T0)
    const promoted = await step(await step(first, T0 + 300 * DAY), T0 + 301 * DAY)
    assert.equal(bundleOf(promoted, T0 + 366 * DAY), promoted.current.cert)
  })

  it('renews a leaf when there is none, after half of its life, and when the authority changes', async () => {
    const state = await step(undefined, T0)
    const leaf = { cert: 'l', key: 'k', notBefore: T0, notAfter: T0 + DAY, authority: state.current.cert }
    assert.equal(leafIsDue(undefined, state, T0), true)
    assert.equal(leafIsDue(leaf, state, T0 + DAY / 2 - 1), false)
    assert.equal(leafIsDue(leaf, state, T0 + DAY / 2), true)
    assert.equal(leafIsDue({ ...leaf, authority: 'other' }, state, T0), true)
  })
})

describe('an issued leaf certificate', () => {
  it('is signed by its authority for the given names, expires no later, and is no authority itself', async () => {
    const now = Date.now()
    const authority = await issueAuthority(now, 10 * MINUTE)
    const leaf = await issueLeaf(authority, ['a.b.svc', 'a.b.svc.cluster.local'], now, DAY)
    const [root, certificate] = [new X509Certificate(authority.cert), new X509Certificate(leaf.cert)]
    assert.equal(root.ca, true)
    assert.equal(certificate.ca, false)
    assert.equal(certificate.verify(root.publicKey), true)
    assert.equal(certificate.checkIssued(root), true)
    assert.equal(certificate.checkHost('a.b.svc'), 'a.b.svc')
    assert.equal(certificate.checkHost('x.b.svc'), undefined)
    assert.ok(leaf.notAfter <= authority.notAfter)
    assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1'])
  })

  it('does not count as issued by another authority of the same name', async () => {
    const now = Date.now()
    const [one, other] = [await issueAuthority(now, DAY), await issueAuthority(now, DAY)]
    const leaf = new X509Certificate((await issueLeaf(one, ['a'], now, DAY)).cert)
    assert.equal(leaf.checkIssued(new X509Certificate(other.cert)), false)
  })
})
