/** `helm test` in an existing namespace: the test plays helm against an API server, and what was there must remain. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { ApiServer, isApiError, type KubeObject } from '../sandbox/kube/client/client.ts'
import { until } from '../support/until.ts'
import { needsHelm, objectsOf, RELEASE_NAMESPACE, type Rendered, render } from './helm.ts'

const NAMESPACE = 'payments'
const PLURALS: Readonly<Record<string, string>> = {
  Namespace: 'namespaces',
  ServiceAccount: 'serviceaccounts',
  Role: 'roles',
  RoleBinding: 'rolebindings',
  Pod: 'pods',
}

describe('helm test in an existing namespace', needsHelm, () => {
  let directory: string
  let api: ApiServer

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'p2i-'))
    api = await ApiServer.start({ directory })
    const labels = { 'pod2iam.dev/injection': 'enabled' }
    for (const name of [NAMESPACE, RELEASE_NAMESPACE])
      await api.admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } })
    for (const kind of ['ConfigMap', 'Secret'])
      await api.admin.create({
        apiVersion: 'v1',
        kind,
        metadata: { name: 'ledger', namespace: NAMESPACE },
        data: { key: 'dmFsdWU=' },
      } as unknown as KubeObject)
  })
  after(async () => {
    await api?.stop()
    await rm(directory, { recursive: true, force: true })
  })

  test('deletes neither the namespace nor anything in it, however often it is run', async () => {
    const before = await everything()
    const hooks = hooksOf(['--set', `tests.namespace=${NAMESPACE}`, '--set', 'tests.role=reader'])
    assert.ok(hooks.some(({ metadata }) => metadata.namespace === NAMESPACE))
    for (let round = 0; round < 2; round++) for (const hook of hooks) await execute(hook)
    const left = await everything()
    assert.deepEqual(
      before.filter((object) => !left.includes(object)),
      [],
    )
  })

  test('deletes the rights of its test together with the test', () => {
    const rights = hooksOf(['--set', `tests.namespace=${NAMESPACE}`]).filter(({ kind }) => kind !== 'Pod')
    assert.equal(rights.length, 3)
    for (const { kind, metadata } of rights)
      assert.match(metadata.annotations?.['helm.sh/hook-delete-policy'] ?? '', /hook-succeeded/, kind)
  })

  /** The namespace and everything in it, by kind, name and uid. */
  async function everything(): Promise<string[]> {
    const namespace = await api.admin.get('namespaces', NAMESPACE)
    const lists = await Promise.all(
      ['configmaps', 'secrets', 'serviceaccounts'].map((plural) =>
        api.admin.list(plural, { namespace: NAMESPACE }),
      ),
    )
    return [namespace, ...lists.flatMap(({ items }) => items)].map(
      ({ metadata }) => `${metadata.name} ${metadata.uid}`,
    )
  }

  /** As helm's `execHook`: an object of that name is deleted first, whoever created it; when it is gone, the new one is created. */
  async function execute({ kind, metadata, ...rest }: Rendered): Promise<void> {
    const plural = PLURALS[kind] ?? assert.fail(`a hook of kind ${kind}`)
    if (metadata.annotations?.['helm.sh/hook-delete-policy']?.includes('before-hook-creation')) {
      await unlessAbsent(
        api.admin.delete(plural, metadata.name, metadata.namespace, { gracePeriodSeconds: 0 }),
      )
      const isGone = async () =>
        (await api.admin.find(plural, metadata.name, metadata.namespace)) === undefined
      await until(`${kind} ${metadata.name} is gone`, isGone)
    }
    await api.admin.create({ kind, metadata, ...rest } as unknown as KubeObject)
  }
})

function hooksOf(flags: readonly string[]): Rendered[] {
  const weight = ({ metadata }: Rendered) => Number(metadata.annotations?.['helm.sh/hook-weight'])
  return objectsOf(render('default', ...flags))
    .filter(({ metadata }) => metadata.annotations?.['helm.sh/hook'] === 'test')
    .sort((one, other) => weight(one) - weight(other))
}

async function unlessAbsent(deletion: Promise<unknown>): Promise<void> {
  await deletion.catch((error: unknown) => {
    if (!isApiError(error, 404)) throw error
  })
}
