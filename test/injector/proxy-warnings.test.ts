/** Warnings about a proxy without an exception for the metadata service. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KEYS } from '../../common/keys.ts'
import { type Dict, decide, namespace, pod, settings } from './fixtures.ts'

const PROXY = 'http://proxy.example.com:3128'

/** The warnings about proxies for a pod whose app has these variables. */
function warningsOf(
  env: Dict[],
  { annotations = {}, ...more }: Dict & { annotations?: Dict } = {},
): readonly string[] {
  const app = { name: 'app', image: 'orders', env, ...more }
  const decision = decide(pod({ containers: [app] }, annotations as never), namespace(), settings())
  assert.equal(decision.kind, 'patch')
  return (decision.kind === 'patch' ? decision.warnings : []).filter(
    (warning) => warning.includes('_PROXY') || warning.includes('_proxy'),
  )
}

const variables = (values: Readonly<Record<string, string>>) =>
  Object.entries(values).map(([name, value]) => ({ name, value }))
const withNoProxy = (noProxy: string) => variables({ HTTP_PROXY: PROXY, NO_PROXY: noProxy })
const MISSING = (proxies: string, host = '169.254.169.254') =>
  `container "app" sets ${proxies} without ${host} in NO_PROXY, so its AWS SDK may ask the proxy for the pod's credentials`
const NETWORK = `container "app" sets HTTP_PROXY with 169.254.169.254 in NO_PROXY only as part of a network, which boto3 and the AWS CLI do not understand`
const ENV_MODE = { annotations: { [KEYS.redirect]: 'env' } }

describe('a proxy in the environment of an app', () => {
  for (const name of ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'])
    it(`causes a warning: ${name}`, () => {
      assert.deepEqual(warningsOf(variables({ [name]: PROXY })), [MISSING(name)])
    })

  it('causes one warning for a container, even in both spellings', () => {
    const both = variables({ HTTP_PROXY: PROXY, http_proxy: PROXY, HTTPS_PROXY: PROXY })
    assert.deepEqual(warningsOf(both), [MISSING('HTTP_PROXY, http_proxy')])
  })

  for (const [what, env] of [
    ['for https alone', variables({ HTTPS_PROXY: PROXY, https_proxy: PROXY })],
    ['if it is empty', variables({ HTTP_PROXY: '' })],
    [
      'if a later variable resets it',
      [...variables({ HTTP_PROXY: PROXY }), { name: 'HTTP_PROXY', value: '' }],
    ],
  ] as const)
    it(`causes no warning ${what}`, () => {
      assert.deepEqual(warningsOf([...env]), [])
    })

  it('causes a warning where its value cannot be seen', () => {
    const env = [{ name: 'HTTP_PROXY', valueFrom: { configMapKeyRef: { name: 'proxy', key: 'url' } } }]
    assert.deepEqual(warningsOf(env), [MISSING('HTTP_PROXY')])
  })

  it('causes a warning in an init container, too', () => {
    const spec = {
      initContainers: [{ name: 'fetch', image: 'x', env: variables({ http_proxy: PROXY }) }],
      containers: [{ name: 'app', image: 'orders' }],
    }
    const decision = decide(pod(spec), namespace(), settings())
    assert.ok(decision.kind === 'patch')
    assert.deepEqual(decision.warnings, [MISSING('http_proxy').replace('"app"', '"fetch"')])
  })
})

describe('NO_PROXY excepts the metadata service', () => {
  for (const list of [
    '169.254.169.254',
    'localhost,127.0.0.1, 169.254.169.254 ,.svc',
    'localhost 169.254.169.254',
    '169.254.169.254:80',
    '*',
    // Go and Python compare addresses with the end of a name, too.
    '169.254',
    '.169.254',
    '*.254',
    '169.254.0.0/16,169.254.169.254',
  ])
    it(`by ${list}`, () => {
      assert.deepEqual(warningsOf(withNoProxy(list)), [])
    })

  for (const list of [
    '',
    '.svc,.cluster.local,10.0.0.0/8',
    '169.254.169.253',
    '169.254.169.254:8080',
    '69.254',
    '169.254.170.0/24',
    '169.254.169.254/33',
  ])
    it(`not by ${JSON.stringify(list)}`, () => {
      assert.deepEqual(warningsOf(withNoProxy(list)), [MISSING('HTTP_PROXY')])
    })

  for (const list of ['169.254.0.0/16', '169.254.169.254/32', '0.0.0.0/0', '10.0.0.0/8,169.254.169.0/24'])
    it(`only for some clients by ${list}`, () => {
      assert.deepEqual(warningsOf(withNoProxy(list)), [NETWORK])
    })

  it('in lower case as well', () => {
    assert.deepEqual(warningsOf(variables({ http_proxy: PROXY, no_proxy: '169.254.169.254' })), [])
  })

  it('only if both spellings do, since clients differ in which one counts', () => {
    const env = variables({ HTTP_PROXY: PROXY, NO_PROXY: '169.254.169.254', no_proxy: '.svc' })
    assert.deepEqual(warningsOf(env), [MISSING('HTTP_PROXY')])
  })

  it('possibly, where its value cannot be seen, so that there is no warning', () => {
    const reference = { name: 'NO_PROXY', valueFrom: { configMapKeyRef: { name: 'proxy', key: 'no' } } }
    assert.deepEqual(warningsOf([...variables({ HTTP_PROXY: PROXY }), reference]), [])
    assert.deepEqual(warningsOf(withNoProxy('$(NODE_NAME),.svc')), [])
    assert.deepEqual(
      warningsOf(variables({ HTTP_PROXY: PROXY }), { envFrom: [{ configMapRef: { name: 'proxy' } }] }),
      [],
    )
  })
})

it('lists are judged only up to a total length', () => {
  const list = '.svc,'.repeat(5000)
  const containers = ['a', 'b', 'c', 'd'].map((name) => ({ name, image: 'orders', env: withNoProxy(list) }))
  const decision = decide(pod({ containers }), namespace(), settings())
  assert.ok(decision.kind === 'patch')
  assert.equal(decision.warnings.length, 2)
})

describe('the address that NO_PROXY must contain is', () => {
  it('127.0.0.1 in mode env', () => {
    assert.deepEqual(warningsOf(withNoProxy('169.254.169.254'), ENV_MODE), [
      MISSING('HTTP_PROXY', '127.0.0.1'),
    ])
    // botocore compares names, and does not resolve them.
    assert.deepEqual(warningsOf(withNoProxy('localhost'), ENV_MODE), [MISSING('HTTP_PROXY', '127.0.0.1')])
    for (const list of ['127.0.0.1', '127.0.0.1:9169', '*'])
      assert.deepEqual(warningsOf(withNoProxy(list), ENV_MODE), [], list)
  })

  it('the IPv6 address where the container chooses IPv6', () => {
    const env = (noProxy: string) => [
      ...withNoProxy(noProxy),
      { name: 'AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE', value: 'IPv6' },
    ]
    assert.deepEqual(warningsOf(env('169.254.169.254')), [MISSING('HTTP_PROXY', 'fd00:ec2::254')])
    for (const list of ['fd00:ec2::254', 'fd00:ec2:0::0:254', '[fd00:ec2::254]', '[fd00:ec2::254]:80', '*'])
      assert.deepEqual(warningsOf(env(list)), [], list)
    assert.match(String(warningsOf(env('fd00:ec2::/32'))), /only as part of a network/)
    assert.deepEqual(warningsOf(env('fd00:ec3::/32')), [MISSING('HTTP_PROXY', 'fd00:ec2::254')])
  })

  it('the endpoint that the container names itself', () => {
    const endpoint = { name: 'AWS_EC2_METADATA_SERVICE_ENDPOINT', value: 'http://[fd00:ec2::254]' }
    assert.deepEqual(warningsOf([...withNoProxy('169.254.169.254'), endpoint]), [
      MISSING('HTTP_PROXY', 'fd00:ec2::254'),
    ])
    assert.deepEqual(warningsOf([...withNoProxy('fd00:ec2::254'), endpoint]), [])
  })
})
