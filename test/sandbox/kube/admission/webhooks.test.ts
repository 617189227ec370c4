import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventually } from '../../../support/until.ts'
import { type KubeObject, sinceKubernetes } from '../client/client.ts'
import { namespace, pod, podAddress, testServer } from '../client/test-server.ts'
import { type JsonObject, listAt, objectAt } from '../objects/objects.ts'
import { ApiError } from '../objects/status.ts'
import {
  allow,
  configuration,
  patching,
  register,
  type TestWebhook,
  testWebhook,
  unregister,
} from './test-webhook.ts'

const server = testServer({ controllers: false })
const admin = () => server().admin

type Kind = 'MutatingWebhookConfiguration' | 'ValidatingWebhookConfiguration'

/** Runs `body` with a registered webhook for the pods of a namespace of that name. */
async function withHook(
  name: string,
  body: (
    hook: TestWebhook,
    create: (more?: Partial<KubeObject>, warnings?: string[]) => Promise<KubeObject>,
  ) => Promise<void>,
  options: { kind?: Kind; more?: JsonObject; clientConfig?: (hook: TestWebhook) => JsonObject } = {},
): Promise<void> {
  const kind = options.kind ?? 'MutatingWebhookConfiguration'
  const hook = await testWebhook(server())
  const clientConfig = options.clientConfig?.(hook) ?? { url: hook.url, caBundle: hook.caBundle }
  const plural = `${kind.toLowerCase()}s`
  let count = 0
  try {
    await admin().apply(namespace(name, { hook: name }))
    await register(server(), configuration(kind, name, clientConfig, options.more))
    await body(hook, (more = {}, warnings = []) =>
      admin().create(pod(`p${count++}`, name, more), { onWarning: (text) => warnings.push(text) }),
    )
  } finally {
    await hook.close()
    await unregister(server(), plural, name)
  }
}

const error = async (promise: Promise<unknown>): Promise<ApiError> => {
  const thrown = await promise.then(
    () => new Error('It was not refused.'),
    (reason: unknown) => reason,
  )
  assert.ok(thrown instanceof ApiError, String(thrown))
  return thrown
}

const annotate = (key: string, value: string) =>
  patching({ op: 'add', path: '/metadata/annotations', value: { [key]: value } })

test('the patch of a mutating webhook is in the stored pod', () =>
  withHook('m-patch', async (hook, create) => {
    hook.reply(
      patching({
        op: 'add',
        path: '/spec/initContainers',
        value: [{ name: 'side', image: 's:1', restartPolicy: 'Always' }],
      }),
    )
    const created = await create()
    const [side] = listAt(created, 'spec', 'initContainers')
    assert.equal(side?.restartPolicy, 'Always')
    assert.equal(side?.terminationMessagePath, '/dev/termination-log', 'what webhooks add gets defaults, too')
    assert.deepEqual((await admin().get('pods', created.metadata.name ?? '', 'm-patch')).spec, created.spec)
  }))

test('the review has the content of a real one', () =>
  withHook('m-review', async (hook, create) => {
    await create({ metadata: { labels: { a: 'b' } } })
    const [review] = hook.reviews
    assert.ok(review !== undefined)
    const { uid, object, userInfo, ...request } = review.request
    assert.equal(review.path, '/mutate?timeout=5s')
    assert.match(uid, /^[0-9a-f-]{36}$/)
    assert.deepEqual(request, {
      kind: { group: '', version: 'v1', kind: 'Pod' },
      resource: { group: '', version: 'v1', resource: 'pods' },
      requestKind: { group: '', version: 'v1', kind: 'Pod' },
      requestResource: { group: '', version: 'v1', resource: 'pods' },
      name: 'p0',
      namespace: 'm-review',
      operation: 'CREATE',
      oldObject: null,
      dryRun: false,
      options: { kind: 'CreateOptions', apiVersion: 'meta.k8s.io/v1' },
    })
    assert.equal(objectAt({ userInfo }, 'userInfo').username, 'kubernetes-admin')
    assert.equal(object.metadata.namespace, 'm-review')
    assert.equal(object.metadata.uid, undefined, 'uid and name are made after mutating admission')
    assert.equal(objectAt(object, 'spec').serviceAccountName, 'default', 'in-tree plugins run before')
  }))

test('with generateName the mutating review has no name yet', () =>
  withHook('m-generate', async (hook) => {
    const generated = {
      ...pod('', 'm-generate'),
      metadata: { generateName: 'web-', namespace: 'm-generate' },
    }
    await admin().create(generated)
    assert.equal(hook.reviews[0]?.request.name, undefined)
    assert.equal(hook.reviews[0]?.request.object.metadata.name, undefined)
  }))

test('the webhook sees dryRun', async () => {
  await withHook('m-dry', async (hook) => {
    await admin().create(pod('dry', 'm-dry'), { dryRun: true })
    assert.equal(hook.reviews[0]?.request.dryRun, true)
  })
})

test('a refusal has the webhook’s name, message and code', () =>
  withHook('m-deny', async (hook, create) => {
    hook.reply({
      allowed: false,
      status: { code: 403, reason: 'Forbidden', message: 'role "x" is not allowed here' },
    })
    const denied = await error(create())
    assert.equal(
      denied.message,
      'admission webhook "m-deny.pod2iam.dev" denied the request: role "x" is not allowed here',
    )
    assert.equal(denied.code, 403)
    assert.equal(denied.reason, 'Forbidden')
    hook.reply({ allowed: false })
    const silent = await error(create())
    assert.equal(
      silent.message,
      'admission webhook "m-deny.pod2iam.dev" denied the request without explanation',
    )
    assert.equal(silent.code, 400, 'a code below 400 becomes 400')
    assert.equal(await admin().find('pods', 'p0', 'm-deny'), undefined)
  }))

test('warnings reach the client as Warning headers, even with quotes and characters beyond ASCII', () =>
  withHook('m-warn', async (hook, create) => {
    hook.reply({ ...allow, warnings: ['namespace "x" is not opted in', 'käse'] })
    const warnings: string[] = []
    await create({}, warnings)
    assert.deepEqual(warnings, ['namespace "x" is not opted in', 'käse'])
    const answer = await admin().request('POST', '/api/v1/namespaces/m-warn/pods', pod('raw', 'm-warn'))
    assert.match(String(answer.headers.warning), /^299 - "namespace \\"x\\" is not opted in"/)
  }))

test('audit annotations are recorded under the webhook’s name', () =>
  withHook('m-audit', async (hook, create) => {
    hook.reply({ ...allow, auditAnnotations: { decision: 'skip' } })
    await server().calls({ clear: true })
    await create()
    const call = (await server().calls()).find(
      ({ verb, resource }) => `${verb} ${resource}` === 'create pods',
    )
    assert.equal(call?.audit['m-audit.pod2iam.dev/decision'], 'skip')
    assert.match(call?.audit['mutation.webhook.admission.k8s.io/round_0_index_0'] ?? '', /"mutated":false/)
  }))

const FAILURES: [what: string, setUp: (hook: TestWebhook) => unknown, text: RegExp][] = [
  [
    'that nobody serves',
    (hook) => hook.close(),
    /: Post "https:\/\/127.0.0.1:\d+\/mutate\?timeout=5s": dial tcp 127.0.0.1:\d+: connect: connection refused$/,
  ],
  [
    'that breaks the connection',
    (hook) => hook.reply('reset'),
    /: Post "https:\/\/127.0.0.1:\d+\/mutate\?timeout=5s": EOF$/,
  ],
  [
    'that answers 500',
    (hook) => hook.reply({ raw: 'boom', status: 500 }),
    /: an error on the server \("boom"\) has prevented the request from succeeding$/,
  ],
  [
    'that answers 404',
    (hook) => hook.reply({ raw: '', status: 404 }),
    /: the server could not find the requested resource$/,
  ],
  [
    'that answers garbage',
    (hook) => hook.reply({ raw: '<html>' }),
    /: couldn't get version\/kind; json parse error: /,
  ],
]

for (const [what, setUp, text] of FAILURES)
  test(`a webhook ${what} causes an InternalError with the real text under Fail, and is skipped under Ignore`, async () => {
    for (const failurePolicy of ['Fail', 'Ignore'])
      await withHook(
        `m-fail-${failurePolicy.toLowerCase()}-${FAILURES.findIndex(([w]) => w === what)}`,
        async (hook, create) => {
          await setUp(hook)
          if (failurePolicy === 'Ignore') return void (await create())
          const failed = await error(create())
          assert.equal(failed.code, 500)
          assert.equal(failed.reason, 'InternalError')
          assert.match(
            failed.message,
            /^Internal error occurred: failed calling webhook "m-fail-fail-\d.pod2iam.dev": failed to call webhook: /,
          )
          assert.match(failed.message, text)
        },
        { more: { failurePolicy } },
      )
  })

test('a webhook that does not answer in timeoutSeconds fails with context deadline exceeded', () =>
  withHook(
    'm-timeout',
    async (hook, create) => {
      hook.reply('hang')
      const begun = performance.now()
      const failed = await error(create())
      assert.match(failed.message, /\/mutate\?timeout=1s": context deadline exceeded$/)
      // Well before the default of ten seconds.
      assert.ok(performance.now() - begun < 8000)
    },
    { more: { timeoutSeconds: 1 } },
  ))

test('certificates are verified against caBundle and host name', async () => {
  const other = await import('../client/certificates.ts').then(({ createAuthority }) =>
    createAuthority('other CA'),
  )
  await withHook(
    'm-ca',
    async (_, create) => {
      assert.match(
        (await error(create())).message,
        /tls: failed to verify certificate: x509: certificate signed by unknown authority$/,
      )
    },
    { clientConfig: ({ url }) => ({ url, caBundle: Buffer.from(other.caPem).toString('base64') }) },
  )
  await withHook(
    'm-name',
    async (_, create) => {
      assert.match(
        (await error(create())).message,
        /x509: certificate is valid for hook.test.svc, not localhost$/,
      )
    },
    { clientConfig: ({ port, caBundle }) => ({ url: `https://localhost:${port}/mutate`, caBundle }) },
  )
})

const INVALID: [what: string, reply: JsonObject, text: RegExp, since?: number][] = [
  [
    'another uid',
    { allowed: true, uid: 'x' },
    /received invalid webhook response: expected response.uid="[^"]+", got "x"$/,
  ],
  [
    'a patch without type',
    { allowed: true, patch: 'W10=' },
    /webhook returned response.patch but not response.patchType$/,
  ],
  [
    'another patch type',
    { ...patching({ op: 'test', path: '/kind', value: 'Pod' }), patchType: 'MergePatch' },
    /: unsupported patch type "MergePatch"$/,
  ],
  [
    'a patch that is no JSON',
    { allowed: true, patch: Buffer.from('{').toString('base64'), patchType: 'JSONPatch' },
    /received undecodable patch in webhook response: /,
    34,
  ],
  [
    'a review without response',
    { raw: '{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}' },
    /webhook response was absent$/,
  ],
  [
    'an old review',
    { raw: '{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview"}' },
    /: converting \(v1beta1.AdmissionReview\) to \(v1.AdmissionReview\): unknown conversion$/,
  ],
]

for (const [index, [what, reply, text, since = 0]] of INVALID.entries())
  test(`an answer with ${what} counts as a failed call`, sinceKubernetes(since, 'such words'), () =>
    withHook(`m-invalid-${index}`, async (hook, create) => {
      hook.reply(reply)
      const failed = await error(create())
      assert.equal(failed.code, 500)
      assert.match(failed.message, text)
    }),
  )

test('a patch that does not apply is refused even under Ignore', () =>
  withHook(
    'm-bad-patch',
    async (hook, create) => {
      hook.reply(patching({ op: 'add', path: '/spec/initContainers/0', value: { name: 'x', image: 'x' } }))
      const failed = await error(create())
      assert.equal(failed.code, 500)
      assert.match(
        failed.message,
        /^Internal error occurred: add operation does not apply: doc is missing path/,
      )
    },
    { more: { failurePolicy: 'Ignore' } },
  ))

test('a patched pod that is not valid is a 422', () =>
  withHook('m-bad-pod', async (hook, create) => {
    hook.reply(
      patching({
        op: 'add',
        path: '/spec/containers/0/volumeMounts/-',
        value: { name: 'nope', mountPath: '/x' },
      }),
    )
    const failed = await error(create())
    assert.equal(failed.code, 422)
    assert.match(failed.message, /volumeMounts\[1\].name: Not found: "nope"/)
  }))

test('namespaceSelector, objectSelector and rules decide which webhooks are called', () =>
  withHook(
    'm-select',
    async (hook, create) => {
      await admin().apply(namespace('m-select-not', { hook: 'no' }))
      await admin().create(pod('x', 'm-select-not', { metadata: { labels: { inject: 'yes' } } }))
      await create()
      assert.equal(hook.reviews.length, 0)
      await create({ metadata: { labels: { inject: 'yes' } } })
      assert.equal(hook.reviews.length, 1)
      await admin().patch('pods', 'p1', 'm-select', { metadata: { annotations: { a: 'b' } } })
      await admin().patch('pods', 'p1', 'm-select', { status: {} }, { subresource: 'status' })
      await admin().bind('m-select', 'p1', 'n')
      assert.equal(hook.reviews.length, 1, 'neither updates nor sub-resources are in the rule')
    },
    { more: { objectSelector: { matchLabels: { inject: 'yes' } } } },
  ))

test('updates, sub-resources and deletions are sent when a rule matches them', () =>
  withHook(
    'v-all',
    async (hook, create) => {
      await create()
      await admin().patch('pods', 'p0', 'v-all', { metadata: { annotations: { a: 'b' } } })
      await admin().patch(
        'pods',
        'p0',
        'v-all',
        { metadata: { annotations: { a: 'c' } } },
        { subresource: 'status' },
      )
      await admin().bind('v-all', 'p0', 'n')
      await admin().delete('pods', 'p0', 'v-all', { gracePeriodSeconds: 0 })
      const seen = hook.reviews.map(({ request }) => [
        request.operation,
        request.subResource,
        objectAt(request, 'kind').kind,
        request.oldObject !== null,
        request.object !== null,
      ])
      // A real API server may call a webhook twice for one deletion.
      const once = seen.filter((one, index) => String(one) !== String(seen[index - 1]))
      assert.deepEqual(once, [
        ['CREATE', undefined, 'Pod', false, true],
        ['UPDATE', undefined, 'Pod', true, true],
        ['UPDATE', 'status', 'Pod', true, true],
        ['CREATE', 'binding', 'Binding', false, true],
        ['DELETE', undefined, 'Pod', true, false],
      ])
    },
    {
      kind: 'ValidatingWebhookConfiguration',
      more: {
        rules: [
          {
            operations: ['*'],
            apiGroups: [''],
            apiVersions: ['v1'],
            resources: ['pods', 'pods/status', 'pods/binding'],
          },
        ],
      },
    },
  ))

const ANNOTATED = "'iam.amazonaws.com/role' in object.metadata.?annotations.orValue({})"
const NOT_OPTED_OUT =
  "!has(object.metadata.annotations) || object.metadata.annotations[?'pod2iam.dev/inject'].orValue('') != 'false'"

test('the matchConditions of our chart filter requests before the call', async () => {
  await withHook(
    'c-annotated',
    async (hook, create) => {
      await create()
      assert.equal(hook.reviews.length, 0)
      await create({ metadata: { annotations: { 'iam.amazonaws.com/role': '' } } })
      assert.equal(hook.reviews.length, 1, 'an empty value still matches')
    },
    { more: { matchConditions: [{ name: 'annotated', expression: ANNOTATED }] } },
  )
  await withHook(
    'c-all',
    async (hook, create) => {
      await create()
      await create({ metadata: { annotations: { x: 'y' } } })
      assert.equal(hook.reviews.length, 2)
      await create({ metadata: { annotations: { 'pod2iam.dev/inject': 'false' } } })
      assert.equal(hook.reviews.length, 2)
    },
    { more: { matchConditions: [{ name: 'not-opted-out', expression: NOT_OPTED_OUT }] } },
  )
})

test('a condition that does not check for the annotation refuses pods without it under Fail and skips the webhook under Ignore', async () => {
  const matchConditions = [
    { name: 'naive', expression: "'iam.amazonaws.com/role' in object.metadata.annotations" },
  ]
  await withHook(
    'c-naive',
    async (hook, create) => {
      const refused = await error(create())
      assert.equal(refused.code, 403)
      assert.equal(
        refused.message,
        `pods "p0" is forbidden: expression ''iam.amazonaws.com/role' in object.metadata.annotations' resulted in error: no such key: annotations`,
      )
      assert.equal(hook.reviews.length, 0)
    },
    { more: { matchConditions } },
  )
  await withHook(
    'c-naive-ignore',
    async (hook, create) => {
      await create()
      assert.equal(hook.reviews.length, 0)
    },
    { more: { matchConditions, failurePolicy: 'Ignore' } },
  )
})

test('a condition with namespaceObject is accepted and fails at run time', () =>
  withHook(
    'c-namespace',
    async (_, create) => {
      assert.match((await error(create())).message, /resulted in error: no such key: metadata$/)
    },
    {
      more: { matchConditions: [{ name: 'ns', expression: "namespaceObject.metadata.labels['a'] == 'b'" }] },
    },
  ))

test('a condition that is false decides even if another one fails', () =>
  withHook(
    'c-two',
    async (hook, create) => {
      await create()
      assert.equal(hook.reviews.length, 0)
    },
    {
      more: {
        matchConditions: [
          { name: 'fails', expression: 'object.metadata.annotations.x == 1' },
          { name: 'false', expression: "request.userInfo.username == 'nobody'" },
        ],
      },
    },
  ))

test('a condition that does not compile is refused when the configuration is created', async () => {
  const config = configuration(
    'MutatingWebhookConfiguration',
    'c-syntax',
    { url: 'https://127.0.0.1:1/' },
    { matchConditions: [{ name: 'x', expression: 'object.(' }] },
  )
  const refused = await error(admin().create(config))
  assert.equal(refused.code, 422)
  assert.match(
    refused.message,
    /webhooks\[0\].matchConditions\[0\].expression: Invalid value: "object.\(": compilation failed/,
  )
})

const NEVER = { reinvocationPolicy: 'Never' }
const IF_NEEDED = { reinvocationPolicy: 'IfNeeded' }
const LATE = { objectSelector: { matchLabels: { late: 'yes' } } }

/** Two mutating configurations for one namespace. */
async function withTwo(
  name: string,
  policies: [JsonObject, JsonObject],
  body: (first: TestWebhook, second: TestWebhook) => Promise<void>,
) {
  const first = await testWebhook(server())
  const second = await testWebhook(server())
  const names = [`a-${name}`, `b-${name}`]
  try {
    await admin().apply(namespace(name, { hook: name }))
    for (const [index, hook] of [first, second].entries())
      await register(
        server(),
        configuration(
          'MutatingWebhookConfiguration',
          names[index] ?? '',
          { url: hook.url, caBundle: hook.caBundle },
          { ...policies[index], namespaceSelector: { matchLabels: { hook: name } } },
        ),
      )
    await body(first, second)
  } finally {
    await Promise.all([first.close(), second.close()])
    for (const one of names) await unregister(server(), 'mutatingwebhookconfigurations', one)
  }
}

test('configurations are called in the order of their names, and each sees the earlier patches', () =>
  withTwo('order', [NEVER, NEVER], async (first, second) => {
    first.reply(annotate('first', 'was here'))
    await admin().create(pod('p', 'order'))
    assert.equal(second.reviews[0]?.request.object.metadata.annotations?.first, 'was here')
    assert.deepEqual([first.reviews.length, second.reviews.length], [1, 1])
  }))

test('a webhook with reinvocationPolicy IfNeeded is called again when a later one changed the pod', () =>
  withTwo('again', [IF_NEEDED, NEVER], async (first, second) => {
    second.reply(annotate('second', 'was here'))
    await admin().create(pod('p', 'again'))
    assert.deepEqual([first.reviews.length, second.reviews.length], [2, 1])
    assert.equal(first.reviews[1]?.request.object.metadata.annotations?.second, 'was here')
  }))

test('a webhook with reinvocationPolicy Never is not called again', () =>
  withTwo('never', [NEVER, NEVER], async (first, second) => {
    second.reply(annotate('second', 'was here'))
    await admin().create(pod('p', 'never'))
    assert.equal(first.reviews.length, 1)
  }))

test('a webhook that was skipped in the first round is not called in the second', () =>
  withTwo('skipped', [{ ...IF_NEEDED, ...LATE }, NEVER], async (first, second) => {
    second.reply(patching({ op: 'add', path: '/metadata/labels', value: { late: 'yes' } }))
    await admin().create(pod('p', 'skipped'))
    assert.equal(first.reviews.length, 0)
  }))

test('the API token is mounted into a container that a webhook adds, and the second call of the webhook sees it', () =>
  withHook(
    'm-token',
    async (hook, create) => {
      hook.reply(({ request }) =>
        listAt(request.object, 'spec', 'initContainers').length > 0
          ? allow
          : patching({
              op: 'add',
              path: '/spec/initContainers',
              value: [{ name: 'side', image: 's:1', restartPolicy: 'Always' }],
            }),
      )
      const created = await create()
      const [side] = listAt(created, 'spec', 'initContainers')
      assert.equal(
        listAt(side, 'volumeMounts')[0]?.mountPath,
        '/var/run/secrets/kubernetes.io/serviceaccount',
      )
      assert.equal(hook.reviews.length, 2, 'the in-tree plugin changed the pod after the webhook')
    },
    { more: { reinvocationPolicy: 'IfNeeded' } },
  ))

test('validating webhooks see the final pod and refuse it', () =>
  withHook(
    'v-final',
    async (hook, create) => {
      await create()
      assert.notEqual(hook.reviews[0]?.request.object.metadata.uid, undefined)
      hook.reply({ allowed: false, status: { message: 'no' } })
      assert.match((await error(create())).message, /denied the request: no$/)
      hook.reply(patching({ op: 'add', path: '/metadata/labels', value: {} }))
      assert.match((await error(create())).message, /validating webhook may not return response.patch$/)
    },
    { kind: 'ValidatingWebhookConfiguration' },
  ))

test('patches that overlap while a webhook is called are all applied, because the later ones are retried', () =>
  withHook(
    'v-overlap',
    async (hook, create) => {
      await create()
      const keys = Array.from({ length: 5 }, (_, index) => `k${index}`)
      const patch = (key: string) =>
        admin().patch('pods', 'p0', 'v-overlap', { metadata: { labels: { [key]: 'v' } } })
      await Promise.all(keys.map(patch))
      const { labels = {} } = (await admin().get('pods', 'p0', 'v-overlap')).metadata
      assert.deepEqual(Object.keys(labels).sort(), keys)
      assert.ok(hook.reviews.length > keys.length, 'some were asked about twice')
    },
    {
      kind: 'ValidatingWebhookConfiguration',
      more: {
        rules: [{ operations: ['UPDATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['pods'] }],
      },
    },
  ))

test('connections to a webhook are reused, whatever Keep-Alive its server announces', () =>
  withHook('m-keep', async (hook, create) => {
    for (let i = 0; i < 5; i++) await create()
    assert.equal(hook.connections(), 1)
  }))

test('a service is resolved to a ready pod, named ports included, and its certificate checked against svc.ns.svc', async () => {
  await withHook(
    'm-service',
    async (hook, create) => {
      const service = {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'hook', namespace: 'test' },
        spec: { selector: { app: 'hook' }, ports: [{ port: 443, targetPort: 'https' }] },
      }
      // A real API server learns of Services and of what is behind them through watches of its own.
      const failsWith = (text: RegExp) =>
        eventually(String(text), async () => text.test((await error(create())).message))
      await failsWith(/Post "https:\/\/hook.test.svc:443\/mutate\?timeout=5s": service "hook" not found$/)
      await admin().create(namespace('test'))
      await admin().create(service)
      await failsWith(/no endpoints available for service "hook"$/)
      // A real endpoints controller does not handle a pod whose node does not exist.
      await admin().create({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'hook-node' } })
      await admin().create(
        pod('server', 'test', {
          metadata: { labels: { app: 'hook' } },
          spec: {
            nodeName: 'hook-node',
            containers: [{ name: 'a', image: 'a', ports: [{ name: 'https', containerPort: hook.port }] }],
          },
        }),
      )
      const status = {
        phase: 'Running',
        podIP: podAddress(),
        conditions: [{ type: 'Ready', status: 'False' }],
      }
      await admin().patch('pods', 'server', 'test', { status }, { subresource: 'status' })
      assert.match(
        (await error(create())).message,
        /no endpoints available/,
        'a pod that is not ready does not count',
      )
      status.conditions = [{ type: 'Ready', status: 'True' }]
      await admin().patch('pods', 'server', 'test', { status }, { subresource: 'status' })
      await eventually('an answer', () =>
        create().then(
          () => true,
          () => false,
        ),
      )
      assert.equal(hook.reviews[0]?.path, '/mutate?timeout=5s')
    },
    {
      clientConfig: ({ caBundle }) => ({
        service: { name: 'hook', namespace: 'test', path: '/mutate' },
        caBundle,
      }),
    },
  )
})

test('fields of a webhook’s patch that pods do not have are silently dropped, and wrong types are an error', () =>
  withHook('m-typed', async (hook, create) => {
    const sidecar = { name: 'side', image: 's:1', restartpolicy: 'Always', env: [] }
    hook.reply(patching({ op: 'add', path: '/spec/initContainers', value: [sidecar] }))
    const [side] = listAt(await create(), 'spec', 'initContainers')
    assert.equal(side?.restartpolicy, undefined)
    assert.equal(side?.restartPolicy, undefined)
    assert.equal(side?.env, undefined)
    hook.reply(patching({ op: 'add', path: '/metadata/annotations', value: { a: 1 } }))
    assert.match(
      (await error(create())).message,
      /^Internal error occurred: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.annotations of type string/,
    )
  }))

test('a webhook never sees empty optional lists and maps, however the client wrote them', () =>
  withHook('m-empty', async (hook, create) => {
    await create({
      metadata: { annotations: {} },
      spec: { initContainers: [], containers: [{ name: 'a', image: 'a' }] },
    })
    const [review] = hook.reviews
    assert.equal(review?.request.object.metadata.annotations, undefined)
    assert.equal(objectAt(review?.request.object, 'spec').initContainers, undefined)
  }))
