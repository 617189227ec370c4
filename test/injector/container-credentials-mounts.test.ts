/** Containers whose own mounts leave no place for the secret of the container credentials. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { applyPatch, type Dict, decide, namespace, opsOf, pod, settings } from './fixtures.ts'

const ASKING = { [KEYS.redirect]: 'env', [KEYS.containerCredentials]: 'on' }

function gets(volume: Dict, mount: Dict): boolean {
  const containers = [{ name: 'app', image: 'app', volumeMounts: [{ name: 'own', ...mount }] }]
  const one = pod({ volumes: [{ name: 'own', ...volume }], containers }, ASKING)
  return JSON.stringify((applyPatch(one, opsOf(decide(one, namespace(), settings()))) as Dict).spec).includes(
    'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  )
}

const FILLED = [
  { secret: { secretName: 'own' } },
  { configMap: { name: 'own' } },
  { downwardAPI: {} },
  { projected: { sources: [] } },
]

test('a volume that the kubelet mounts read-only is in the way above the secret’s path, whatever its mount says', () => {
  for (const volume of FILLED)
    for (const mount of [
      { mountPath: '/run' },
      { mountPath: '/run/secrets/' },
      { mountPath: 'run' },
      { mountPath: '/var/run', subPath: 'part' },
      { mountPath: '/var/run', subPathExpr: '$(PART)' },
    ])
      assert.equal(gets(volume, mount), false, JSON.stringify([volume, mount]))
  for (const volume of [
    { image: { reference: 'own' } },
    { csi: { driver: 'secrets-store.csi.k8s.io', readOnly: true } },
    { persistentVolumeClaim: { claimName: 'own', readOnly: true } },
    { nfs: { server: 'own', path: '/', readOnly: true } },
  ])
    for (const mountPath of ['/var/run/secrets', '/run', '/var/run/'])
      assert.equal(gets(volume, { mountPath }), false, `${JSON.stringify(volume)} at ${mountPath}`)
})

// pkg/volume/util/nested_volumes.go: as for the token of the service account, which is below /var/run/secrets, too.
test('it is not where the kubelet creates the directories of mounts below it', () => {
  for (const volume of FILLED)
    for (const mount of [
      { mountPath: '/var/run/secrets' },
      { mountPath: '/var//run/' },
      { mountPath: '/var', readOnly: true },
    ])
      assert.equal(gets(volume, mount), true, JSON.stringify([volume, mount]))
})

test('a writable volume, and a read-only one elsewhere, are not in the way', () => {
  for (const volume of [{ emptyDir: {} }, { csi: { driver: 'own' } }, { secret: null, emptyDir: {} }])
    assert.equal(gets(volume, { mountPath: '/run' }), true, JSON.stringify(volume))
  for (const mountPath of ['/var/run/secrets/eks', '/runner', '/var/run/../lib', 'etc'])
    assert.equal(gets({ emptyDir: {} }, { mountPath, readOnly: true }), true, mountPath)
})

test('a read-only mount above the secret’s path is in the way however its path is written', () => {
  for (const mountPath of ['/var//run/secrets', '/var/./run', '/var/run/secrets/x/..', 'var/run', '/.'])
    assert.equal(gets({ emptyDir: {} }, { mountPath, readOnly: true }), false, mountPath)
  for (const mountPath of ['/run/../run', '//run', '/var/../run/secrets'])
    assert.equal(gets({ emptyDir: {} }, { mountPath, readOnly: true }), false, mountPath)
})

test('any mount at the secret’s path or below it is in the way', () => {
  for (const mountPath of [
    '/var/run/secrets//pod2iam-container',
    '/run/secrets/pod2iam-container/token',
    '/var/run/secrets/pod2iam-container/x/',
  ])
    assert.equal(gets({ emptyDir: {} }, { mountPath }), false, mountPath)
})
