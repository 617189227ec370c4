/** `explain -f`: what admission will decide about a manifest, without a cluster. */
import assert from 'node:assert/strict'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { before, test } from 'node:test'
import { decide, settingsOfFlags } from '../../cli/product/injector.ts'
import { run, widest } from './support.ts'

const NAMESPACE = `apiVersion: v1
kind: Namespace
metadata:
  name: reports
  labels: {pod2iam.dev/injection: enabled}
  annotations: {iam.amazonaws.com/allowed-roles: '["reports-*"]'}
`
const BASE = '--injector-flag=--base-role-arn=arn:aws:iam::111111111111:role/'

const deployment = (annotations: string, spec = 'containers: [{name: app, image: "app:1"}]') => `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: nightly, namespace: reports}
spec:
  selector: {matchLabels: {app: nightly}}
  template:
    metadata:
      labels: {app: nightly}
      annotations: {${annotations}}
    spec: {${spec}}
`

let directory = ''
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pod2iam-cli-file-'))
})

let count = 0
async function explain(manifest: string, ...args: string[]) {
  const file = join(directory, `manifest-${++count}.yaml`)
  await writeFile(file, manifest)
  return run(['explain', '-f', file, ...args])
}

test('explain -f prints what is added to a valid manifest, with exit code 0', async () => {
  const manifest = NAMESPACE + deployment('iam.amazonaws.com/role: reports-reader')
  const { code, stdout, stderr } = await explain(manifest, BASE)
  assert.deepEqual([code, stderr], [0, ''])
  assert.match(stdout, /^Deployment reports\/nightly, /)
  assert.match(
    stdout,
    /✔ role allowed +namespace reports may use\s+arn:aws:iam::111111111111:role\/reports-reader/,
  )
  assert.match(stdout, /containers +pod2iam-sidecar, pod2iam-gate/)
  assert.match(stdout, /volumes +pod2iam-token, pod2iam-state, pod2iam-no-api/)
  assert.ok(widest(stdout) <= 80, `a line has ${widest(stdout)} columns`)
})

test('explain -f -o json contains the injector’s own patch', async () => {
  const annotations = { 'iam.amazonaws.com/role': 'arn:aws:iam::111111111111:role/reports-reader' }
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'one', namespace: 'reports', annotations },
    spec: { containers: [{ name: 'app', image: 'app:1' }] },
  }
  const { code, stdout } = await explain(`${NAMESPACE}---\n${JSON.stringify(pod)}`, '-o', 'json', BASE)
  assert.equal(code, 0)
  const [explanation] = JSON.parse(stdout).explanations
  const settings = settingsOfFlags(['--base-role-arn=arn:aws:iam::111111111111:role/'])
  assert.ok(settings.ok)
  const namespace = {
    name: 'reports',
    labels: { 'pod2iam.dev/injection': 'enabled' },
    annotations: { 'iam.amazonaws.com/allowed-roles': '["reports-*"]' },
  }
  const decision = decide({ isRead: true, object: pod }, namespace, settings.settings)
  assert.equal(decision.kind, 'patch')
  assert.deepEqual(explanation.adds.patch, JSON.parse(JSON.stringify('ops' in decision ? decision.ops : [])))
  assert.equal(explanation.failed, null)
})

test('explain -f says in mode env in which containers the environment changes', async () => {
  const manifest = NAMESPACE + deployment('iam.amazonaws.com/role: reports-reader, pod2iam.dev/redirect: env')
  const { stdout } = await explain(manifest, BASE)
  assert.match(
    stdout.replace(/\s+/g, ' '),
    /environment AWS_EC2_METADATA_SERVICE_ENDPOINT=http:\/\/127\.0\.0\.1:9169\/ in app/,
  )
})

for (const [code, annotations, spec] of [
  ['not-annotated', '', undefined],
  ['opted-out', 'iam.amazonaws.com/role: reports-reader, pod2iam.dev/inject: "false"', undefined],
  ['role-not-allowed', 'iam.amazonaws.com/role: billing', undefined],
  ['invalid-role', 'iam.amazonaws.com/role: "a b"', undefined],
  ['invalid-annotation', 'iam.amazonaws.com/role: reports-reader, pod2iam.dev/redirect: both', undefined],
  [
    'host-network',
    'iam.amazonaws.com/role: reports-reader',
    'hostNetwork: true, containers: [{name: app, image: "app:1"}]',
  ],
  [
    'windows',
    'iam.amazonaws.com/role: reports-reader',
    'nodeSelector: {kubernetes.io/os: windows}, containers: [{name: app, image: "app:1"}]',
  ],
  [
    'port-clash',
    'iam.amazonaws.com/role: reports-reader',
    'containers: [{name: app, image: "app:1", ports: [{containerPort: 9169}]}]',
  ],
  [
    'reserved-container',
    'iam.amazonaws.com/role: reports-reader',
    'containers: [{name: pod2iam-sidecar, image: "app:1"}]',
  ],
  [
    'reserved-volume',
    'iam.amazonaws.com/role: reports-reader',
    'volumes: [{name: pod2iam-token, emptyDir: {}}], containers: [{name: app, image: "app:1", volumeMounts: [{name: pod2iam-token, mountPath: /x}]}]',
  ],
  [
    'pod-resources-too-small',
    'iam.amazonaws.com/role: reports-reader',
    'resources: {limits: {memory: 8Mi}}, containers: [{name: app, image: "app:1"}]',
  ],
  [
    'fargate',
    'iam.amazonaws.com/role: reports-reader',
    'nodeSelector: {eks.amazonaws.com/compute-type: fargate}, containers: [{name: app, image: "app:1"}]',
  ],
  ['mirror-pod', 'iam.amazonaws.com/role: reports-reader, kubernetes.io/config.mirror: x', undefined],
  ['malformed-pod', 'iam.amazonaws.com/role: reports-reader', 'containers: app'],
  [
    'pod-too-large',
    'iam.amazonaws.com/role: reports-reader',
    `containers: [${Array.from({ length: 501 }, (_, index) => `{name: app-${index}, image: "app:1"}`)}]`,
  ],
] as const)
  test(`explain -f prints ${code} as the first failing step, with a remedy and exit code 1`, async () => {
    const manifest = NAMESPACE + deployment(annotations, spec)
    const [text, json] = [await explain(manifest, BASE), await explain(manifest, BASE, '-o', 'json')]
    assert.equal(text.code, 1, text.stdout + text.stderr)
    assert.match(text.stdout, new RegExp(`✖ .*\n(?:.*\n)*.*: ${code}\n  → \\w`))
    const [{ failed, steps }] = JSON.parse(json.stdout).explanations
    assert.equal(failed.code, code)
    const first = steps.findIndex(({ state }: { state: string }) => state === 'failed')
    assert.deepEqual(
      steps.slice(first + 1).map(({ state }: { state: string }) => state),
      steps.slice(first + 1).map(() => 'not-checked'),
    )
    assert.ok(widest(text.stdout) <= 80)
  })

test('explain -f prints the command for a namespace that is not opted in', async () => {
  const manifest = `apiVersion: v1\nkind: Namespace\nmetadata: {name: reports}\n${deployment('iam.amazonaws.com/role: reports-reader')}`
  const { code, stdout } = await explain(manifest, BASE)
  assert.equal(code, 1)
  assert.match(stdout, /kubectl label --overwrite namespace reports/)
})

test('explain -f warns about a misspelt key, as at apply', async () => {
  const manifest = NAMESPACE + deployment('iam.amazonaws.com/role: reports-reader, pod2iam.dev/redirekt: env')
  const { code, stdout } = await explain(manifest, BASE)
  assert.equal(code, 0)
  assert.match(
    stdout.replace(/\s+/g, ' '),
    /warning: annotation "pod2iam.dev\/redirekt" means nothing to pod2iam: did you mean pod2iam.dev\/redirect\?/,
  )
})

test('explain removes control characters from the text of a manifest', async () => {
  const manifest =
    NAMESPACE + deployment('iam.amazonaws.com/role: "reports-\\e]0;owned\\a\\e[2J\\e[8m\\x9b31mx"')
  const { code, stdout } = await explain(manifest, BASE)
  assert.equal(code, 1)
  assert.doesNotMatch(stdout, /[^\P{Cc}\n]/u)
  assert.match(stdout, /reports-\]0;owned/)
  for (const form of ['json', 'yaml'])
    assert.doesNotMatch((await explain(manifest, BASE, '-o', form)).stdout, /[^\P{Cc}\n]/u, form)
})

test('explain -f says that it needs a cluster if the file does not contain the namespace', async () => {
  const { code, stderr } = await explain(deployment('iam.amazonaws.com/role: reports-reader'))
  assert.equal(code, 2)
  assert.match(stderr, /kubeconfig-missing/)
})

test('explain -f - reads standard input, and an error in the YAML is reported with its line', async () => {
  const input = NAMESPACE + deployment('iam.amazonaws.com/role: reports-reader')
  assert.equal((await run(['explain', '-f', '-', BASE], { input })).code, 0)
  const broken = await run(['explain', '-f', '-'], { input: 'a: [b' })
  assert.equal(broken.code, 2)
  assert.match(broken.stderr, /- is not valid YAML: [^(]*line 1/)
})

const ACCOUNTS = '--injector-flag=--service-account-roles=true'
const account = (annotations: string) => `---
apiVersion: v1
kind: ServiceAccount
metadata: {name: nightly, namespace: reports, annotations: {${annotations}}}
`
const AS_NIGHTLY = 'serviceAccountName: nightly, containers: [{name: app, image: "app:1"}]'
const flat = (text: string) => text.replace(/\s+/g, ' ')

test('explain -f uses a service account in the file, with its role and its list of allowed roles', async () => {
  const named = 'eks.amazonaws.com/role-arn: "arn:aws:iam::111111111111:role/reports-reader"'
  const manifest = (more = '') => NAMESPACE + account(named + more) + deployment('', AS_NIGHTLY)
  const { code, stdout } = await explain(manifest(), BASE, ACCOUNTS)
  assert.equal(code, 0, stdout)
  assert.match(
    flat(stdout),
    /✔ asks for a role annotation eks\.amazonaws\.com\/role-arn of service account reports\/nightly names arn:aws:iam::111111111111:role\/reports-reader/,
  )
  const off = await explain(manifest(), BASE)
  assert.match(flat(off.stdout), /: not-annotated/)
  const earlier = await explain(manifest().replace('serviceAccountName:', 'serviceAccount:'), BASE, ACCOUNTS)
  assert.match(flat(earlier.stdout), /of service account reports\/nightly names/)
  const narrowed = await explain(
    manifest(`, iam.amazonaws.com/allowed-roles: '["reports-writer"]'`),
    BASE,
    ACCOUNTS,
  )
  assert.equal(narrowed.code, 1)
  assert.match(flat(narrowed.stdout), /service account reports\/nightly may not use role .* does not list it/)
})

for (const [list, why] of [
  ['reports-*', 'is not a JSON array of at most 256 strings'],
  ['{"roles": []}', 'is not a JSON array of at most 256 strings'],
  ['[7]', 'is not a JSON array of at most 256 strings'],
] as const)
  test(`explain -f says why the list ${list} is not accepted, of a namespace and of a service account`, async () => {
    const written = `iam.amazonaws.com/allowed-roles: '${list}'`
    const role = 'iam.amazonaws.com/role: reports-reader'
    const ofNamespace = NAMESPACE.replace(/annotations: .*/, `annotations: {${written}}`) + deployment(role)
    const ofAccount = NAMESPACE + account(written) + deployment(role, AS_NIGHTLY)
    for (const [manifest, owner] of [
      [ofNamespace, 'namespace reports'],
      [ofAccount, 'service account reports/nightly'],
    ] as const) {
      const { code, stdout } = await explain(manifest, BASE, ACCOUNTS)
      assert.equal(code, 1, stdout)
      const sentence = `✖ role allowed annotation iam.amazonaws.com/allowed-roles of ${owner} ${why}, so nothing is allowed`
      assert.ok(flat(stdout).includes(sentence), stdout)
      assert.match(flat(stdout), /role allowed: role-not-allowed → /)
    }
  })

test('explain -f says why regexps are not accepted', async () => {
  const namespace = NAMESPACE.replace('["reports-*"]', '["reports-("]')
  const { stdout } = await explain(
    namespace + deployment('iam.amazonaws.com/role: reports-reader'),
    BASE,
    '--injector-flag=--namespace-restriction-format=regexp',
  )
  assert.match(
    flat(stdout),
    /✖ role allowed annotation .* of namespace reports: "reports-\(" is not a regexp .*, so nothing is allowed/,
  )
})

test('explain -f says that a service account names no role, or that it is unknown', async () => {
  const none = await explain(NAMESPACE + account('') + deployment('', AS_NIGHTLY), BASE, ACCOUNTS)
  assert.match(flat(none.stdout), /and service account reports\/nightly names no role/)
  const unknown = await explain(NAMESPACE + deployment('', AS_NIGHTLY), BASE, ACCOUNTS)
  assert.match(
    flat(unknown.stdout),
    /service account reports\/nightly is neither in the file nor could it be read/,
  )
})

test('explain -f says that the EKS pod identity webhook has already given a pod the role of its service account', async () => {
  const named = 'eks.amazonaws.com/role-arn: "arn:aws:iam::111111111111:role/reports-reader"'
  const file = '/var/run/secrets/eks.amazonaws.com/serviceaccount/token'
  const env = `env: [{name: AWS_WEB_IDENTITY_TOKEN_FILE, value: ${file}}]`
  const served =
    `serviceAccountName: nightly, containers: [{name: app, image: "app:1", ${env}}], ` +
    'volumes: [{name: aws-iam-token, projected: {sources: []}}]'
  const manifest = NAMESPACE + account(named) + deployment('', served)
  const { stdout } = await explain(manifest, BASE, ACCOUNTS, '-o', 'json')
  const [{ failed, warnings }] = JSON.parse(stdout).explanations
  assert.deepEqual([failed.step, failed.code], ['asks', 'served-by-eks'])
  assert.match(
    failed.detail,
    /service account reports\/nightly names its role, and the EKS pod identity webhook/,
  )
  assert.match(failed.remedy, /^nothing, if its SDK supports web identity/)
  assert.deepEqual(warnings, [failed.detail])
})
