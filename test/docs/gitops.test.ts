/** docs/gitops.md: Argo CD and Flux would install this chart, with values that exist. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parse, parseAllDocuments, stringify } from 'yaml'
import { CHART, helm, needsHelm, objectsOf, RELEASE_NAMESPACE } from '../chart/helm.ts'
import { tagged } from './markdown.ts'
import { isChartValue, source } from './source.ts'

const PAGE = 'docs/gitops.md'
const chart = parse(source('charts/pod2iam/Chart.yaml'))
const RELEASE = source('.github/workflows/release.yaml')

/** Paths of all leaves of a tree of values. */
function leaves(tree: object, above = ''): string[] {
  return Object.entries(tree).flatMap(([key, value]) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? leaves(value, `${above}${key}.`)
      : [`${above}${key}`],
  )
}

function rendered(values: object) {
  const args = ['template', 'pod2iam', CHART, '--namespace', RELEASE_NAMESPACE, '--kube-version=1.34.0']
  return objectsOf(helm(...args, ...leaves(values).map((path) => `--set=${path}=${valueAt(values, path)}`)))
}

function valueAt(values: object, path: string): unknown {
  return path.split('.').reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], values)
}

/** The labels of a namespace in which the node guard can run. */
const PRIVILEGED = { 'pod-security.kubernetes.io/enforce': 'privileged' }

describe('the Application of Argo CD', () => {
  const application = parse(tagged(PAGE, 'argocd').text)
  const { source: from, destination, ignoreDifferences, syncPolicy } = application.spec
  const values = from.helm.valuesObject

  test('uses the chart of this release from where the release workflow publishes it', () => {
    assert.deepEqual(
      [application.apiVersion, application.kind, from.chart, from.targetRevision],
      ['argoproj.io/v1alpha1', 'Application', chart.name, chart.version],
    )
    // Argo CD expects an OCI registry without its scheme.
    assert.equal(from.repoURL, 'ghcr.io/pod2iam/charts')
    assert.match(RELEASE, /"oci:\/\/\$REGISTRY\/charts"/)
  })

  test('has only values that the chart has', () => {
    const paths = leaves(values)
    assert.ok(paths.length >= 3)
    assert.deepEqual(
      paths.filter((path) => !isChartValue(path)),
      [],
    )
  })

  test('creates the namespace with the same labels as install.md', () => {
    assert.equal(destination.namespace, RELEASE_NAMESPACE)
    assert.ok(syncPolicy.syncOptions.includes('CreateNamespace=true'))
    assert.deepEqual(syncPolicy.managedNamespaceMetadata.labels, PRIVILEGED)
  })

  test('ignores only what the injector writes: fields that the chart does not render', needsHelm, () => {
    const objects = rendered(values)
    for (const { kind, name } of ignoreDifferences) {
      const [found] = objects.filter(
        (one) => one.kind === kind && (name ?? one.metadata.name) === one.metadata.name,
      )
      assert.ok(found, `${kind} ${name ?? ''}`)
      assert.doesNotMatch(stringify(found), /^data:|caBundle/m)
    }
    assert.equal(ignoreDifferences.length, 3)
  })
})

describe('the objects of Flux', () => {
  const objects = parseAllDocuments(tagged(PAGE, 'flux').text).map((one) => {
    assert.deepEqual(one.errors, [])
    return one.toJS()
  })
  const [namespace, repository, release] = objects
  const { spec } = release.spec.chart

  test('are a namespace, a repository and a release that refers to both', () => {
    assert.deepEqual(
      objects.map(({ apiVersion, kind }) => `${apiVersion} ${kind}`),
      ['v1 Namespace', 'source.toolkit.fluxcd.io/v1 HelmRepository', 'helm.toolkit.fluxcd.io/v2 HelmRelease'],
    )
    assert.deepEqual(namespace.metadata.labels, PRIVILEGED)
    assert.equal(repository.metadata.namespace, namespace.metadata.name)
    assert.equal(release.metadata.namespace, namespace.metadata.name)
    assert.deepEqual(spec.sourceRef, { kind: 'HelmRepository', name: repository.metadata.name })
    assert.deepEqual([spec.chart, spec.version], [chart.name, chart.version])
    assert.equal(repository.spec.url, 'oci://ghcr.io/pod2iam/charts')
  })

  test('have only values that the chart has and can render', needsHelm, () => {
    assert.deepEqual(
      leaves(release.spec.values).filter((path) => !isChartValue(path)),
      [],
    )
    assert.ok(rendered(release.spec.values).length > 10)
  })

  test('trust only the signature of the release workflow for that version', () => {
    const [identity] = spec.verify.matchOIDCIdentity
    const subject = (tag: string) =>
      `https://github.com/pod2iam/pod2iam/.github/workflows/release.yaml@refs/tags/${tag}`
    assert.match(subject(`v${chart.version}`), new RegExp(identity.subject))
    for (const other of [
      subject('v9.9.9'),
      `${subject(`v${chart.version}`)}x`,
      subject('v0.1.0').replace('pod2iam/pod2iam', 'evil/pod2iam'),
    ])
      assert.doesNotMatch(other, new RegExp(identity.subject))
    assert.match('https://token.actions.githubusercontent.com', new RegExp(identity.issuer))
  })
})

test('install.md verifies everything that the release workflow signs, with the identity of the workflow', () => {
  const { text } = tagged('docs/install.md', 'verify-release')
  const [, targets = ''] = /target: \[([^\]]+)\]/.exec(RELEASE) ?? []
  const [, signed = ''] = /for name in (.+); do\n {2}cosign/.exec(text) ?? []
  assert.deepEqual(signed.split(' '), [...targets.split(', '), 'charts/pod2iam'])
  assert.match(RELEASE, /cosign sign --yes "\$REGISTRY\/charts\/pod2iam@\$digest"/)
  const [, issuer = ''] =
    /--certificate-oidc-issuer (\S+) \\\n *--certificate-identity "\$GITHUB_SERVER_URL/.exec(RELEASE) ?? []
  assert.ok(text.includes(`--certificate-oidc-issuer ${issuer} `), issuer)
  assert.match(text, /\.github\/workflows\/release\.yaml@refs\/tags\/v\$VERSION$/m)
  assert.ok(text.includes(`VERSION=${chart.version}\n`))
})
