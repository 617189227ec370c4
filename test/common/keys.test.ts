import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  CONTAINER_TOKEN_VOLUME,
  GATE_CONTAINER,
  injectionMode,
  KEYS,
  SIDECAR_CONTAINER,
  STATE_VOLUME,
  TOKEN_VOLUME,
  WEB_IDENTITY_VOLUME,
} from '../../common/keys.ts'

describe('keys', () => {
  it('are those that users of kube2iam and kiam have, and our own', () => {
    assert.deepEqual(KEYS, {
      injection: 'pod2iam.dev/injection',
      allowedRoles: 'iam.amazonaws.com/allowed-roles',
      permitted: 'iam.amazonaws.com/permitted',
      defaultRole: 'iam.amazonaws.com/default-role',
      allowedExternalIds: 'pod2iam.dev/allowed-external-ids',
      role: 'iam.amazonaws.com/role',
      externalId: 'iam.amazonaws.com/external-id',
      sessionName: 'iam.amazonaws.com/session-name',
      sessionPolicyArns: 'iam.amazonaws.com/session-policy-arns',
      credentialSource: 'pod2iam.dev/credential-source',
      hostNetwork: 'pod2iam.dev/host-network',
      redirect: 'pod2iam.dev/redirect',
      containerCredentials: 'pod2iam.dev/container-credentials',
      imdsTokens: 'pod2iam.dev/imds-tokens',
      startupGate: 'pod2iam.dev/startup-gate',
      inject: 'pod2iam.dev/inject',
      sidecarResources: 'pod2iam.dev/sidecar-resources',
      logLevel: 'pod2iam.dev/log-level',
      status: 'pod2iam.dev/status',
      injected: 'pod2iam.dev/injected',
    })
  })

  for (const key of Object.values(KEYS))
    it(`${key} is a qualified name as the API server requires`, () => {
      assert.match(key, /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?\/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/)
    })

  for (const name of [
    ...[SIDECAR_CONTAINER, GATE_CONTAINER],
    ...[TOKEN_VOLUME, WEB_IDENTITY_VOLUME, CONTAINER_TOKEN_VOLUME, STATE_VOLUME],
  ])
    it(`${name} is a DNS label, as names of containers and volumes must be`, () => {
      assert.match(name, /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/)
    })

  for (const [labels, expected] of [
    [undefined, undefined],
    [{}, undefined],
    [{ [KEYS.injection]: 'enabled' }, 'enabled'],
    [{ [KEYS.injection]: 'all' }, 'all'],
    [{ [KEYS.injection]: 'disabled' }, undefined],
    [{ [KEYS.injection]: 'true' }, undefined],
    [{ [KEYS.injection]: 'Enabled' }, undefined],
    [{ [KEYS.injection]: '' }, undefined],
    [{ other: 'enabled' }, undefined],
  ] as const)
    it(`labels ${JSON.stringify(labels)} mean ${expected ?? 'not opted in'}`, () =>
      assert.equal(injectionMode(labels), expected))
})
