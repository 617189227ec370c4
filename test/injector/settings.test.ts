import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseSettings } from '../../common/settings.ts'
import { injectionSettings } from '../../injector/injection-settings.ts'
import { SPEC, settingMistakes } from '../../injector/settings.ts'
import { IMAGES } from './fixtures.ts'

const TLS = ['--tls-cert-file=a', '--tls-key-file=b']

function parsed(...argv: string[]) {
  const result = parseSettings(SPEC, { argv: [...IMAGES, ...argv], env: {} })
  return result.ok
    ? { settings: result.settings, errors: settingMistakes(result.settings) }
    : { errors: result.errors }
}

describe('the settings of the injector', () => {
  it('have the documented defaults', () => {
    const { settings, errors } = parsed(...TLS)
    assert.deepEqual(errors, [])
    assert.ok(settings)
    const { port, healthPort, redirect, gateProof, imdsTokens, startupGate, hostNetworkAnnotated } = settings
    assert.deepEqual(
      { port, healthPort, redirect, gateProof, imdsTokens, startupGate, hostNetworkAnnotated },
      {
        port: 8443,
        healthPort: 8080,
        redirect: 'nft',
        gateProof: 'enforce',
        imdsTokens: 'optional',
        startupGate: 'on',
        hostNetworkAnnotated: 'deny',
      },
    )
    assert.equal(settings.namespaceRestrictions, true)
  })

  for (const [argv, says] of [
    [[], /set --tls-cert-file and --tls-key-file/],
    [['--tls-cert-file=a'], /set both --tls-cert-file and --tls-key-file/],
    [['--ca-secret=a/b', '--service-name=x'], /--ca-secret, --service-name and --webhook-configuration\.$/],
    [[...TLS, '--ca-secret=a/b'], /^set either .* not both/],
    [[...TLS, '--ca-secret=x'], /--ca-secret must be namespace\/name/],
    [[...TLS, '--startup-taint=not a key'], /--startup-taint must be a qualified name/],
    [[...TLS, '--base-role-arn=arn:aws:s3:::x'], /--base-role-arn cannot be used: /],
    [[...TLS, '--role-key=a b'], /--role-key must be a qualified name/],
    [[...TLS, '--redirect=iptables'], /--redirect must be one of nft, env/],
    [[...TLS, '--sidecar-resources={"limits":{"cpu":"9"}}'], /--sidecar-resources may give at most 1 of cpu/],
    [[...TLS, '--sidecar-resources-max={}'], /--sidecar-resources-max must be JSON/],
    [
      [...TLS, '--default-role=a b', '--base-role-arn=arn:aws:iam::111111111111:role'],
      /--default-role: the role contains white space/,
    ],
  ] as const)
    it(`are rejected with one sentence: ${argv.join(' ') || 'no argument'}`, () => {
      const { errors } = parsed(...argv)
      assert.equal(errors.length, 1, errors.join(' | '))
      assert.match(errors[0] ?? '', says)
    })

  it('may include higher bounds of the sidecar’s resources', () => {
    const { settings } = parsed(
      ...TLS,
      '--sidecar-resources={"limits":{"memory":"512Mi"}}',
      '--sidecar-resources-max={"cpu":"2","memory":"1Gi"}',
    )
    assert.ok(settings)
    assert.deepEqual(injectionSettings(settings).resources, {
      requests: { cpu: undefined, memory: '16Mi' },
      limits: { cpu: '500m', memory: '512Mi' },
    })
  })

  it('add the trailing slash to the base role ARN', () => {
    const { settings } = parsed(...TLS, '--base-role-arn=arn:aws:iam::111111111111:role/path')
    assert.equal(settings && injectionSettings(settings).policy.base, 'arn:aws:iam::111111111111:role/path/')
  })
})
