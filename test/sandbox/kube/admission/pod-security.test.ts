import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sinceKubernetes } from '../client/client.ts'
import { namespace, pod, testServer } from '../client/test-server.ts'
import { isApiError } from '../objects/status.ts'

const server = testServer({ controllers: false })
const admin = () => server().admin
const LABEL = 'pod-security.kubernetes.io'

const SAFE = {
  allowPrivilegeEscalation: false,
  runAsNonRoot: true,
  runAsUser: 65532,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' },
}
const spec = (securityContext: object, more: object = {}) => ({
  containers: [{ name: 'app', image: 'app:1', securityContext }],
  ...more,
})
const gate = (securityContext: object) => [{ name: 'pod2iam-gate', image: 'g:1', securityContext }]

const CASES: [level: string, what: string, spec: object, violation: string | undefined, since?: number][] = [
  ['baseline', 'an ordinary pod', spec({}), undefined],
  [
    'baseline',
    'an init container with NET_ADMIN',
    spec({}, { initContainers: gate({ capabilities: { add: ['NET_ADMIN'] } }) }),
    'non-default capabilities (container "pod2iam-gate" must not include "NET_ADMIN" in securityContext.capabilities.add)',
  ],
  [
    'baseline',
    'NET_ADMIN with hostUsers false',
    spec({}, { hostUsers: false, initContainers: gate({ capabilities: { add: ['NET_ADMIN'] } }) }),
    'non-default capabilities (container "pod2iam-gate" must not include "NET_ADMIN" in securityContext.capabilities.add)',
  ],
  [
    'baseline',
    'hostNetwork, hostPath and privileged at once',
    spec({ privileged: true }, { hostNetwork: true, volumes: [{ name: 'root', hostPath: { path: '/' } }] }),
    'host namespaces (hostNetwork=true), hostPath volumes (volume "root"), privileged (container "app" must not set securityContext.privileged=true)',
  ],
  ['restricted', 'a pod that meets all requirements', spec(SAFE), undefined],
  [
    'restricted',
    'an ordinary pod',
    spec({}),
    'allowPrivilegeEscalation != false (container "app" must set securityContext.allowPrivilegeEscalation=false), ' +
      'unrestricted capabilities (container "app" must set securityContext.capabilities.drop=["ALL"]), ' +
      'runAsNonRoot != true (pod or container "app" must set securityContext.runAsNonRoot=true), ' +
      'seccompProfile (pod or container "app" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
  ],
  [
    'restricted',
    'a gate as root with NET_ADMIN in a pod that is otherwise restricted',
    spec(SAFE, {
      initContainers: gate({
        ...SAFE,
        runAsUser: 0,
        runAsNonRoot: false,
        capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
      }),
    }),
    'unrestricted capabilities (container "pod2iam-gate" must not include "NET_ADMIN" in securityContext.capabilities.add), ' +
      'runAsNonRoot != true (container "pod2iam-gate" must not set securityContext.runAsNonRoot=false), ' +
      'runAsUser=0 (container "pod2iam-gate" must not set runAsUser=0)',
  ],
  [
    'restricted',
    'a gate as root with NET_ADMIN and hostUsers false',
    spec(SAFE, {
      hostUsers: false,
      initContainers: gate({
        ...SAFE,
        runAsUser: 0,
        runAsNonRoot: false,
        capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
      }),
    }),
    'unrestricted capabilities (container "pod2iam-gate" must not include "NET_ADMIN" in securityContext.capabilities.add)',
    35,
  ],
  [
    'restricted',
    'a hostPath volume',
    spec(SAFE, { volumes: [{ name: 'root', hostPath: { path: '/' } }] }),
    'restricted volume types (volume "root" uses restricted volume type "hostPath")',
  ],
  ['privileged', 'anything', spec({ privileged: true }, { hostNetwork: true }), undefined],
]

for (const [index, [level, what, podSpec, violation, since = 0]] of CASES.entries()) {
  const needs = sinceKubernetes(since, 'other rules for user namespaces')
  test(`enforcing ${level} ${violation === undefined ? 'admits' : 'refuses'} ${what}`, needs, async () => {
    const ns = `ps-${index}`
    await admin().create(namespace(ns, { [`${LABEL}/enforce`]: level }))
    const created = admin().create(pod('p', ns, { spec: podSpec }))
    if (violation === undefined) return void (await created)
    const message = `pods "p" is forbidden: violates PodSecurity "${level}:latest": ${violation}`
    await assert.rejects(created, (error) => {
      assert.ok(isApiError(error, 403))
      assert.equal(error.message, message)
      return true
    })
  })
}

const deployment = (ns: string) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', namespace: ns },
  spec: {
    selector: { matchLabels: { app: 'web' } },
    template: { metadata: { labels: { app: 'web' } }, spec: spec({ privileged: true }) },
  },
})

test('a Deployment whose pods would be refused is created with a warning', async () => {
  await admin().create(namespace('ps-deploy', { [`${LABEL}/enforce`]: 'baseline' }))
  const warnings: string[] = []
  await admin().create(deployment('ps-deploy'), { onWarning: (text) => warnings.push(text) })
  assert.deepEqual(warnings, [
    'would violate PodSecurity "baseline:latest": privileged (container "app" must not set securityContext.privileged=true)',
  ])
})

test('warn warns about pods that are admitted', async () => {
  await admin().create(
    namespace('ps-warn', { [`${LABEL}/warn`]: 'restricted', [`${LABEL}/warn-version`]: 'v1.30' }),
  )
  const warnings: string[] = []
  await admin().create(pod('p', 'ps-warn'), { onWarning: (text) => warnings.push(text) })
  assert.match(
    warnings[0] ?? '',
    /^would violate PodSecurity "restricted:v1.30": allowPrivilegeEscalation != false/,
  )
})

test('a namespace label with an unknown level is refused', async () => {
  await assert.rejects(admin().create(namespace('ps-bad', { [`${LABEL}/enforce`]: 'strict' })), (error) => {
    assert.ok(isApiError(error, 422))
    assert.match(error.message, /Invalid value: "strict": must be one of privileged, baseline, restricted/)
    return true
  })
})
