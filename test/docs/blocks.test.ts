/** Every block can be parsed, Kubernetes accepts its objects, and shells accept its commands. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { describe, test } from 'node:test'
import { parseAllDocuments, stringify } from 'yaml'
import { needsPeer, peer } from '../peers/peers.ts'
import { testServer } from '../sandbox/kube/client/test-server.ts'
import { type Block, PAGES } from './markdown.ts'

const BLOCKS = PAGES.flatMap(({ blocks }) => blocks)
const of = (...languages: string[]) => BLOCKS.filter(({ language }) => languages.includes(language))
const server = testServer()

/** Bodies of here-documents that a shell block applies. */
function applied({ text }: Block): string[] {
  return [...text.matchAll(/^kubectl apply -f - <<'?EOF'?\n([\s\S]*?)^EOF$/gm)].map(([, body = '']) => body)
}

type KubeObject = { apiVersion?: string; kind?: string; metadata?: { name?: string; namespace?: string } }

const isCloudFormation = ({ tag }: Block) => tag === 'cloudformation'
/** gitops.test.ts checks these blocks. */
const isGitOps = ({ tag }: Block) => tag === 'argocd' || tag === 'flux'
const isValues = ({ text }: Block) => text.startsWith('# values: ')

const MANIFESTS = [
  ...of('yaml')
    .filter((block) => !isCloudFormation(block) && !isGitOps(block) && !isValues(block))
    .map(({ at, text }) => ({ at, text })),
  ...of('sh').flatMap((block) => applied(block).map((text) => ({ at: block.at, text }))),
]

function objectsIn(text: string): KubeObject[] {
  return parseAllDocuments(text).map((document) => {
    assert.deepEqual(document.errors, [])
    return document.toJS() as KubeObject
  })
}

test('the pages have enough blocks of each kind', () => {
  assert.ok(MANIFESTS.length >= 8, `${MANIFESTS.length} manifests`)
  assert.ok(of('json').length >= 7, `${of('json').length} JSON blocks`)
  assert.ok(of('sh').length >= 25, `${of('sh').length} shell blocks`)
})

describe('the manifests', () => {
  for (const { at, text } of MANIFESTS)
    test(`at ${at} have complete objects, which a Kubernetes API server accepts without a warning`, async () => {
      for (const object of objectsIn(text)) {
        const { apiVersion = '', kind, metadata } = object
        assert.ok(apiVersion && kind && metadata?.name, `${at}: apiVersion, kind or name is missing`)
        // Objects of kops, and of groups that the sandbox's server does not have.
        if (/^(?:kops\.k8s\.io|autoscaling)\//.test(apiVersion)) continue
        const namespace = metadata.namespace ?? 'default'
        await server().admin.applyYaml(
          stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }),
        )
        const { warnings } = await server().admin.applyYaml(stringify(object))
        assert.deepEqual(warnings, [])
      }
    })

  test('have only fields that Kubernetes knows', needsPeer('kube-types'), () => {
    const input = MANIFESTS.flatMap(({ text }) => objectsIn(text))
      .filter(({ apiVersion = '' }) => !apiVersion.startsWith('kops.k8s.io/'))
      .map((object) => `---\n${stringify(object)}`)
      .join('')
    const { stdout } = spawnSync(peer('kube-types') ?? '', { input, encoding: 'utf8' })
    assert.equal(stdout, '')
  })
})

describe('the other blocks can be parsed:', () => {
  for (const { at, text } of of('json')) test(`${at} as JSON`, () => assert.ok(JSON.parse(text)))
  for (const block of of('yaml').filter(isValues))
    test(`${block.at} as YAML`, () =>
      assert.deepEqual(
        parseAllDocuments(block.text).flatMap(({ errors }) => errors),
        [],
      ))
  for (const { at, text } of of('sh', 'bash'))
    test(`${at} as a shell script`, () => {
      const { status, stderr } = spawnSync('bash', ['-n'], { input: text, encoding: 'utf8' })
      // A here-document without its end causes only a warning.
      assert.deepEqual([status, stderr], [0, ''])
    })
})

test('every block has a language that is checked', () => {
  // Blocks of `text` are outputs of pod2iam, which cli.test.ts checks.
  const checked = new Set(['sh', 'bash', 'json', 'yaml', 'hcl', 'sql', 'text', ''])
  assert.deepEqual(
    BLOCKS.filter(({ language }) => !checked.has(language)).map(({ at }) => at),
    [],
  )
})
