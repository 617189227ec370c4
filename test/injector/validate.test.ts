import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { webhooks } from '../../injector/admission/webhook.ts'
import type { Namespace } from '../../injector/pod/namespace.ts'
import { NO_LIMITS } from '../../injector/warnings/namespace-limits.ts'
import { silentLog } from '../support/log.ts'
import {
  applyPatch,
  type Dict,
  decide,
  namespace,
  noAccounts,
  opsOf,
  pod,
  reviewOf,
  settings,
} from './fixtures.ts'

const ENDING = '2026-11-24T08:00:00Z'

async function validated(request: Dict, lookup = async (): Promise<Namespace> => namespace()) {
  const { validate } = webhooks({
    limits: async () => NO_LIMITS,
    accounts: noAccounts,
    settings: () => settings(),
    lookup,
    metrics: { observe() {} },
    log: silentLog,
    clock: () => 0,
  })
  const review = reviewOf(pod())
  const answer = await validate(
    JSON.stringify({ ...review, request: { ...(review.request as Dict), ...request } }),
  )
  assert.equal(answer.status, 200)
  const { response } = (answer as { body: Dict }).body as { response: Dict }
  return {
    allowed: response.allowed as boolean,
    message: ((response.status as Dict | undefined)?.message ?? '') as string,
    warnings: (response.warnings ?? []) as string[],
    reason: (response.auditAnnotations as Dict).reason,
    patch: response.patch,
  }
}

function injected(annotations: Record<string, string> = {}, by = settings()): Dict {
  const given = pod({}, annotations)
  return applyPatch(given, opsOf(decide(given, namespace(), by)))
}

function changed(
  change: (pod: { metadata: Dict; spec: Dict & { initContainers: Dict[]; containers: Dict[] } }) => unknown,
  start = injected(),
): Dict {
  const copy = structuredClone(start)
  change(copy as never)
  return copy
}

function named(list: Dict[], name: string): Dict {
  return list.find((one) => one.name === name) ?? assert.fail(`no ${name}`)
}

describe('a pod after all mutating webhooks', () => {
  it('that is complete is allowed without a patch and warnings', async () => {
    assert.deepEqual(await validated({ object: injected() }), {
      allowed: true,
      message: '',
      warnings: [],
      reason: 'already-injected',
      patch: undefined,
    })
  })

  for (const [what, says, object] of [
    ['the sidecar is missing', /it has no init container pod2iam-sidecar/, pod()],
    [
      'the sidecar lost its restartPolicy',
      /\(restartPolicy\)/,
      changed(({ spec }) => delete spec.initContainers[0]?.restartPolicy),
    ],
    [
      'the gate is missing',
      /it has no init container pod2iam-gate/,
      changed(({ spec }) => spec.initContainers.pop()),
    ],
    [
      'a volume is missing',
      /volume pod2iam-no-api is missing/,
      changed(({ spec }) => (spec.volumes as Dict[]).pop()),
    ],
    [
      'the sidecar got a capability',
      /\(securityContext capabilities\)/,
      changed(({ spec }) => {
        ;(spec.initContainers[0]?.securityContext as Dict).capabilities = { add: ['SYS_ADMIN'] }
      }),
    ],
  ] as const)
    it(`is refused when ${what}`, async () => {
      const { allowed, message, reason } = await validated({ object })
      assert.deepEqual([allowed, reason], [false, 'not-injected'])
      assert.match(message, says)
      assert.match(message, /^pod2iam: the pod asks for an IAM role, but .* another webhook undid its work/)
    })

  it('is refused like by the mutating webhook, when the reason for it was added later', async () => {
    const { allowed, message } = await validated({ object: changed(({ spec }) => (spec.hostNetwork = true)) })
    assert.equal(allowed, false)
    assert.match(message, /host network/)
  })

  it('is not refused for a changed label or status, a later container without the endpoint, or another release', async () => {
    const start = injected({ [KEYS.redirect]: 'env' }, settings({ start: 'two-stage' }))
    const object = changed(({ metadata, spec }) => {
      metadata.labels = {}
      ;(metadata.annotations as Dict)[KEYS.status] = 'x'
      named(spec.initContainers, 'pod2iam-gate').image = 'ghcr.io/pod2iam/node-guard:0.2.0'
      spec.containers.push({ name: 'late' })
      spec.initContainers.push({ name: 'late-init' })
    }, start)
    assert.equal((await validated({ object })).allowed, true)
  })

  it('that does not ask is allowed', async () => {
    assert.equal((await validated({ object: pod({}, { [KEYS.role]: undefined }) })).reason, 'not-annotated')
  })

  it('is refused when it opted out but has a sidecar', async () => {
    const object = injected()
    ;(object.metadata as { annotations: Dict }).annotations[KEYS.inject] = 'false'
    const { allowed, reason } = await validated({ object })
    assert.deepEqual([allowed, reason], [false, 'reserved-container'])
  })

  it('is refused when its namespace cannot be read', async () => {
    const { allowed, reason } = await validated({ object: injected() }, async () =>
      Promise.reject(new Error('x')),
    )
    assert.deepEqual([allowed, reason], [false, 'namespace-lookup-failed'])
  })
})

describe('a living pod', () => {
  const update = (object: Dict, oldObject: Dict, subResource?: string) =>
    validated({ operation: 'UPDATE', object, oldObject, subResource }, async () =>
      assert.fail('no look-up is needed'),
    )

  for (const [key, value] of [
    [KEYS.role, 'arn:aws:iam::111111111111:role/shop-other'],
    [KEYS.externalId, 'partner-8'],
    [KEYS.sessionName, 'other'],
    [KEYS.inject, 'metadata'],
  ] as const)
    for (const subResource of [undefined, 'status'])
      it(`keeps ${key} in an update of ${subResource ?? 'the pod itself'}`, async () => {
        const before = injected()
        const after = changed(({ metadata }) => ((metadata.annotations as Dict)[key] = value), before)
        const { allowed, message } = await update(after, before, subResource)
        assert.equal(allowed, false)
        assert.match(message, /^pod2iam: annotation \S+ of a pod cannot be changed/)
        assert.doesNotMatch(message, new RegExp(value))
      })

  it('keeps its role when somebody removes the annotation', async () => {
    const before = injected()
    const after = changed(({ metadata }) => delete (metadata.annotations as Dict)[KEYS.role], before)
    assert.equal((await update(after, before)).allowed, false)
  })

  for (const [what, before, after] of [
    ['opted out cannot opt in', { [KEYS.inject]: 'false' }, {}],
    ['was injected cannot opt out', {}, { [KEYS.inject]: 'false' }],
    ['opted out cannot ask for metadata only', { [KEYS.inject]: 'false' }, { [KEYS.inject]: 'metadata' }],
  ] as const)
    it(`that ${what}`, async () => {
      const { allowed, message } = await update(pod({}, after), pod({}, before))
      assert.equal(allowed, false)
      assert.match(message, /annotation pod2iam\.dev\/inject of a pod cannot be changed/)
    })

  it('may change everything else, and everything while it terminates', async () => {
    const before = injected()
    const other = changed(({ metadata }) => ((metadata.annotations as Dict).team = 'x'), before)
    assert.equal((await update(other, before)).allowed, true)
    const ending = changed(({ metadata }) => (metadata.deletionTimestamp = ENDING), before)
    const stripped = changed(({ metadata }) => (metadata.annotations = {}), ending)
    assert.equal((await update(stripped, ending)).allowed, true)
    const pretending = changed(({ metadata }) => (metadata.deletionTimestamp = ENDING), stripped)
    assert.equal((await update(pretending, before)).allowed, false)
  })

  it('is resized in place without a warning, and keeps its identity, where a rule calls the injector for that', async () => {
    const before = injected()
    const resize = (change: Parameters<typeof changed>[0]) =>
      validated({
        operation: 'UPDATE',
        subResource: 'resize',
        object: changed(change, before),
        oldObject: before,
      })
    const { allowed, reason, warnings } = await resize(({ spec }) => {
      for (const one of [...spec.containers, ...spec.initContainers]) one.resources = { limits: { cpu: '9' } }
    })
    assert.deepEqual([allowed, reason, warnings], [true, 'unchanged', []])
    const other = await resize(({ metadata }) => ((metadata.annotations as Dict)[KEYS.role] = 'admin'))
    assert.equal(other.allowed, false)
  })

  for (const way of [
    { subResource: 'binding' },
    { resource: { group: '', version: 'v1', resource: 'bindings' } },
  ])
    it(`gets no identity through a binding, whose annotations are copied to it: ${JSON.stringify(way)}`, async () => {
      const binding = (annotations: Dict, metadata: Dict = {}) =>
        validated({
          operation: 'CREATE',
          ...way,
          object: { kind: 'Binding', metadata: { name: 'orders', annotations, ...metadata } },
        })
      assert.equal((await binding({})).allowed, true)
      assert.equal((await binding({ [KEYS.role]: 'arn:aws:iam::111111111111:role/admin' })).allowed, false)
      assert.equal((await binding({ [KEYS.externalId]: 'partner' })).allowed, false)
      const pretending = { deletionTimestamp: ENDING }
      assert.equal((await binding({ [KEYS.externalId]: 'partner' }, pretending)).allowed, false)
    })
})

it('an object of another resource is allowed', async () => {
  const { allowed, reason } = await validated({
    resource: { group: '', version: 'v1', resource: 'configmaps' },
    object: {},
  })
  assert.deepEqual([allowed, reason], [true, 'not-validated'])
})
