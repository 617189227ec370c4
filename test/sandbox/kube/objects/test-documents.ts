/** Patches any JSON document: with the stand-in's functions, or with a real API server that keeps it in an object. */
import assert from 'node:assert/strict'
import { eventually } from '../../../support/until.ts'
import type { ApiServer } from '../client/client.ts'
import { jsonPatch, mergePatch, PatchError } from './json-patch.ts'
import { isApiError } from './status.ts'

export type Patcher = {
  /** The result; undefined if the patch is refused. */
  json(document: unknown, operations: readonly unknown[]): Promise<unknown>
  merge(document: unknown, patch: unknown): Promise<unknown>
}

/** @param apply another function in place of the stand-in's */
export function standInPatcher(apply: typeof jsonPatch = jsonPatch): Patcher {
  return {
    async json(document, operations) {
      try {
        return apply(document, operations)
      } catch (error) {
        if (error instanceof PatchError) return undefined
        throw error
      }
    },
    merge: async (document, patch) => mergePatch(document, patch),
  }
}

const GROUP = 'test.pod2iam.dev'
const PATH = `/apis/${GROUP}/v1/documents`
const DEFINITIONS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
/** A kind whose spec is anything. */
const DOCUMENTS = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: `documents.${GROUP}` },
  spec: {
    group: GROUP,
    scope: 'Cluster',
    names: { plural: 'documents', kind: 'Document' },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: 'object',
            properties: { spec: { 'x-kubernetes-preserve-unknown-fields': true } },
          },
        },
      },
    ],
  },
}

/** Patches of a real API server, whose only objects with arbitrary content are those of a custom resource definition. */
export function documents(server: () => ApiServer): Patcher {
  let count = 0
  async function patched(document: unknown, patch: unknown, type: string): Promise<unknown> {
    const { admin } = server()
    const name = `document-${++count}`
    await define(server())
    await admin.post(PATH, {
      apiVersion: `${GROUP}/v1`,
      kind: 'Document',
      metadata: { name },
      spec: document,
    })
    const answer = await admin.request('PATCH', `${PATH}/${name}`, patch, type)
    if (answer.status === 200) return JSON.parse(answer.body).spec
    assert.match(answer.body, /"reason":"(Invalid|BadRequest)"/)
    return undefined
  }
  const under = (pointer: string) => `/spec${pointer}`
  return {
    json(document, operations) {
      const moved = (operations as { path: string; from?: string }[]).map((operation) => ({
        ...operation,
        path: under(operation.path),
        ...(operation.from === undefined ? {} : { from: under(operation.from) }),
      }))
      return patched(document, moved, 'application/json-patch+json')
    },
    merge: (document, patch) => patched(document, { spec: patch }, 'application/merge-patch+json'),
  }
}

async function define({ admin }: ApiServer): Promise<void> {
  if ((await admin.request('GET', PATH)).status === 200) return
  await admin.post(DEFINITIONS, DOCUMENTS).catch((error: unknown) => {
    if (!isApiError(error, 409)) throw error
  })
  await eventually('the kind Document', async () => (await admin.request('GET', PATH)).status === 200)
}
