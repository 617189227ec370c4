/** What counts as an authority in the shared Secret. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Kube } from '../../common/kube/client.ts'
import { authoritySecret } from '../../injector/certificates/authority-secret.ts'

const PEM = '-----BEGIN CERTIFICATE-----'
const current = { cert: PEM, key: '-----BEGIN PRIVATE KEY-----', notBefore: 1, notAfter: 2 }
const next = { ...current, publishedAt: 1 }
const previous = { cert: PEM, notAfter: 2, retiredAt: 1 }

async function stateOf(content: unknown) {
  const text = Buffer.from(JSON.stringify(content)).toString('base64')
  const kube: Kube = {
    get: async () => ({ data: { 'authority.json': text } }),
    send: () => assert.fail('nothing is written'),
    stream: () => assert.fail('nothing is watched'),
    close() {},
  }
  return (await authoritySecret(kube, { namespace: 'n', name: 's' }).read()).state
}

test('a complete state is read as it was written', async () => {
  for (const state of [
    { version: 1, current },
    { version: 1, current, next, previous },
  ])
    assert.deepEqual(await stateOf(state), state)
})

test('a state with a malformed part counts as missing, so that a new authority replaces it', async () => {
  for (const state of [
    null,
    { version: 2, current },
    { version: 1, current: { ...current, cert: 'x' } },
    { version: 1, current, next: current },
    { version: 1, current, next: { ...next, key: 1 } },
    { version: 1, current, previous: {} },
    { version: 1, current, previous: { ...previous, cert: 1 } },
    { version: 1, current, previous: { ...previous, retiredAt: 'yesterday' } },
  ])
    assert.equal(await stateOf(state), undefined, JSON.stringify(state))
})
