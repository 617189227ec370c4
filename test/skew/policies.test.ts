/**
 * The admission policies of one release's chart with the pods that injectors of the other admit: in an upgrade or a rollback
 * helm changes the policies at once, and the injectors one by one. An API server evaluates them, without a webhook.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parseAllDocuments } from 'yaml'
import { policies } from '../previous-release/recorded.ts'
import { ApiServer, type KubeObject } from '../sandbox/kube/client/client.ts'
import { admittedBy } from './admitted.ts'
import { CROSSED, type Side } from './releases.ts'

const policiesOf = (side: Side) =>
  side === 'previous'
    ? policies()
    : readFileSync(new URL('../../charts/pod2iam/files/policies.yaml', import.meta.url), 'utf8')

/**
 * A pod that starts in one stage has no gate, which the policies of 0.1.0 require. Beside a replica of 0.1.0 the injector
 * writes two stages. Helm changes policies after Deployments, so that replica's pod exists before its policies do.
 */
const BESIDE = { previous: ['--start=two-stage'], this: [] } as const

/** The chart writes its role key into the policies, but these files have the usual key. */
const HAS_USUAL_KEY = ({ settings }: { readonly settings: readonly string[] }) =>
  !settings.some((flag) => flag.startsWith('--role-key='))

describe('between neighbouring releases', () => {
  for (const [ofPolicies, ofInjector] of CROSSED)
    test(`the policies of ${ofPolicies} release allow every pod that the injector of ${ofInjector} release admits`, async (t) => {
      const directory = await mkdtemp(join(tmpdir(), 'p2p-'))
      const api = await ApiServer.start({ directory, controllers: false })
      t.after(async () => {
        await api.stop()
        await rm(directory, { recursive: true, force: true })
      })
      for (const document of parseAllDocuments(policiesOf(ofPolicies))) await api.admin.apply(document.toJS())
      const create = async (index: number, labels: object, pod: object) => {
        const name = `ns-${index}`
        await api.admin.create({
          apiVersion: 'v1',
          kind: 'Namespace',
          metadata: { name, labels },
        } as unknown as KubeObject)
        await api.admin.create({
          apiVersion: 'v1',
          kind: 'ServiceAccount',
          metadata: { name: 'orders', namespace: name },
        })
        const { metadata } = pod as { metadata: object }
        const object = { ...pod, metadata: { ...metadata, name: 'orders', namespace: name } }
        await api.admin.create(object as unknown as KubeObject)
      }
      const cases = admittedBy(ofInjector, BESIDE[ofPolicies]).filter(HAS_USUAL_KEY)
      assert.ok(cases.length > 30)
      for (const [index, { name, namespace, admitted }] of cases.entries())
        await assert.doesNotReject(create(index, namespace.labels, admitted), name)
      // The policies are active: the same pod without the injected containers is refused.
      const [bare] = cases
      assert.ok(bare)
      await assert.rejects(create(cases.length, bare.namespace.labels, bare.pod), /pod2iam/)
    })
})
