/** The guides for users of kube2iam and kiam cover all of their flags and chart values. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import { codeSpans, page, rowsUnder } from './markdown.ts'
import { commandsOf } from './shell.ts'
import { source } from './source.ts'

/** kube2iam 0.15, cmd/main.go. */
const KUBE2IAM_FLAGS = `kubeconfig api-server api-token insecure app-port metrics-port base-role-arn auto-discover-base-arn
  default-role auto-discover-default-role iam-role-key iam-external-id iam-role-session-ttl iam-role-error-ttl metadata-addr
  iptables host-interface host-ip node namespace-restrictions namespace-restriction-format namespace-key cache-resync-period
  resolve-duplicate-cache-ips backoff-max-interval backoff-max-elapsed-time use-regional-sts-endpoint log-level log-format
  verbose debug version`
/** The values.yaml of its chart. */
const KUBE2IAM_VALUES = `extraArgs extraEnv host.ip host.iptables host.interface host.port prometheus.metricsPort
  prometheus.service.enabled prometheus.service.annotations prometheus.serviceMonitor.enabled prometheus.serviceMonitor.interval
  prometheus.serviceMonitor.namespace prometheus.serviceMonitor.labels image.repository image.tag image.pullPolicy
  image.pullSecrets aws.access_key aws.secret_key aws.region existingSecret nodeSelector affinity tolerations podAnnotations
  podLabels priorityClassName livenessProbe readinessProbe rbac.create rbac.serviceAccountName resources lifecycle
  updateStrategy maxUnavailable verbose podSecurityPolicy.enabled podSecurityPolicy.annotations`
/** kiam 4.2: agent, server, health. */
const KIAM_FLAGS = `json-log level prometheus-listen-addr prometheus-sync-interval pprof-listen-addr cert key ca port allow-ip-query
  allow-route-regexp iptables iptables-remove host host-interface server-address server-address-refresh gateway-timeout-creation
  grpc-keepalive-time-duration grpc-keepalive-timeout-duration grpc-keepalive-permit-without-stream timeout fetchers
  prefetch-buffer-size bind kubeconfig sync role-base-arn role-base-arn-autodetect disable-strict-namespace-regexp session
  session-duration session-refresh assume-role-arn region grpc-max-connection-idle-duration grpc-max-connection-age-duration
  grpc-max-connection-age-grace-duration`
/** The values of its chart 6.1.2, in values.yaml and in the templates: of the agent and the server each, of one of them, and of both. */
const OF_BOTH =
  `enabled name image log prometheus podAnnotations podLabels serviceAnnotations serviceLabels priorityClassName
  updateStrategy nodeSelector tolerations affinity resources extraArgs extraEnv extraHostPathMounts initContainers
  gatewayTimeoutCreation keepaliveParams tlsFiles tlsSecret tlsCerts livenessProbe seLinuxOptions`.split(
    /\s+/,
  )
const KIAM_VALUES = `${['agent', 'server'].flatMap((part) => OF_BOTH.map((name) => `${part}.${name}`)).join(' ')}
  agent.allowRouteRegexp agent.whiteListRouteRegexp agent.deepLivenessProbe agent.host.iptables
  agent.host.iptablesRemoveOnShutdown agent.host.port agent.host.interface agent.dnsPolicy server.deployment.enabled
  server.deployment.replicas server.roleBaseArn server.assumeRoleArn server.sessionDuration server.cache.syncInterval
  server.useHostNetwork server.service.port server.service.targetPort server.sslCertHostPath server.probes server.readinessProbe
  server.disableStrictNamespaceRegexp extraArgs imagePullSecrets rbac.create psp.create serviceAccounts.agent
  serviceAccounts.server`

const GUIDES = {
  'docs/migrating-from-kube2iam.md': { flags: KUBE2IAM_FLAGS, values: KUBE2IAM_VALUES },
  'docs/migrating-from-kiam.md': { flags: KIAM_FLAGS, values: KIAM_VALUES },
}

/** The names in the first cells, with the answer of each row. `.x` after `a.b.c` is `a.b.x`. */
function answers(file: string, title: string): Map<string, string> {
  const found = new Map<string, string>()
  for (const [names = '', answer = ''] of rowsUnder(page(file), title).slice(1)) {
    let last = ''
    for (const name of codeSpans(names)) {
      last = name.startsWith('.') ? last.replace(/\.[^.]*$/, name) : name
      found.set(last.replace(/^--/, ''), answer)
    }
  }
  return found
}

for (const [file, { flags, values }] of Object.entries(GUIDES))
  describe(file, () => {
    for (const [title, names] of [
      ['Every flag', flags],
      ['Every chart value', values],
    ] as const)
      test(`has the whole list "${title}", each with its equivalent or a reason`, () => {
        const documented = answers(file, title)
        assert.deepEqual([...documented.keys()].sort(), names.split(/\s+/).sort())
        for (const [name, answer] of documented) assert.ok(answer.length > 3, name)
      })

    test('says first what changes for users, such as that a new role needs a new pod', () => {
      const [first = ''] = page(file).prose.match(/^## .*$/m) ?? []
      assert.equal(first, '## What changes for users')
      const [, ...rows] = rowsUnder(page(file), 'What changes for users')
      assert.match(rows[0]?.join(' ') ?? '', /changing a role.*a new pod/)
    })

    test('uses one values file and no --set, which the next upgrade could forget', () => {
      const upgrades = page(file).blocks.flatMap((block) =>
        block.language === 'sh' ? commandsOf(block, 'helm').filter(([verb]) => verb === 'upgrade') : [],
      )
      assert.equal(upgrades.length, 2)
      for (const words of upgrades) {
        assert.deepEqual(
          words.filter((_, index) => words[index - 1] === '--values'),
          ['pod2iam.yaml'],
        )
        assert.ok(!words.includes('--set'), words.join(' '))
      }
    })

    test('has the steps in order: audit, label and restart, empty audit, remove, enforce', () => {
      const steps = [...page(file).prose.matchAll(/^### \d\. (\w+)/gm)].map(([, word]) => word)
      assert.deepEqual(steps, ['Audit', 'Label', 'Until', 'Remove', 'Enforce'])
    })
  })

test('values-kube2iam.yaml sets what the guide says', () => {
  const { guard, injector, policy } = parse(source('charts/pod2iam/values-kube2iam.yaml'))
  assert.deepEqual(
    [guard.mode, policy.namespaceRestrictions, injector.hostNetworkAnnotated],
    ['audit', false, 'warn'],
  )
})

test('the memory per sidecar in the table of costs is the measured one', () => {
  const [, measured] =
    /\| mean PSS of 50 sidecars \| ([\d.]+) MiB/.exec(page('docs/benchmarks.md').prose) ?? []
  const [, stated, total] = /110 × ([\d.]+) MiB = ([\d.]+) GiB/.exec(page('docs/operations.md').prose) ?? []
  assert.ok(
    Math.abs(Number(stated) / Number(measured) - 1) < 0.1,
    `the table has ${stated}, but ${measured} was measured`,
  )
  assert.equal(((110 * Number(stated)) / 1024).toFixed(1), total)
})
