/** The STS endpoint for a Region and environment. This test looks up names itself and finds none, so no packet is sent. */
import assert from 'node:assert/strict'
import dns from 'node:dns'
import { afterEach, mock, test } from 'node:test'
import { stsClient } from '../../node-guard/broker/aws/sts-client.ts'
import { World } from './world.ts'

const KEYS = { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret' }
const MINE = [
  'AWS_USE_FIPS_ENDPOINT',
  'AWS_USE_DUALSTACK_ENDPOINT',
  'AWS_ENDPOINT_URL_STS',
  'AWS_ENDPOINT_URL',
  'AWS_STS_REGIONAL_ENDPOINTS',
]

/** The STS endpoints that kube2iam and kiam use for each region, and partitions that neither of them knows. */
const ENDPOINTS: readonly [region: string, env: Record<string, string>, host: string][] = [
  ['us-east-1', {}, 'sts.us-east-1.amazonaws.com'],
  ['eu-west-1', {}, 'sts.eu-west-1.amazonaws.com'],
  ['cn-north-1', {}, 'sts.cn-north-1.amazonaws.com.cn'],
  ['cn-northwest-1', {}, 'sts.cn-northwest-1.amazonaws.com.cn'],
  ['us-gov-east-1', {}, 'sts.us-gov-east-1.amazonaws.com'],
  ['us-gov-west-1', {}, 'sts.us-gov-west-1.amazonaws.com'],
  ['us-iso-east-1', {}, 'sts.us-iso-east-1.c2s.ic.gov'],
  ['us-isob-east-1', {}, 'sts.us-isob-east-1.sc2s.sgov.gov'],
  ['eu-isoe-west-1', {}, 'sts.eu-isoe-west-1.cloud.adc-e.uk'],
  // A future Region: kube2iam asks ec2:DescribeRegions whether it exists.
  ['eu-north-9', {}, 'sts.eu-north-9.amazonaws.com'],
  ['us-east-1', { AWS_USE_FIPS_ENDPOINT: 'true' }, 'sts-fips.us-east-1.amazonaws.com'],
  // GovCloud's ordinary endpoints are FIPS ones.
  ['us-gov-west-1', { AWS_USE_FIPS_ENDPOINT: 'true' }, 'sts.us-gov-west-1.amazonaws.com'],
  ['us-east-1-fips', {}, 'sts-fips.us-east-1.amazonaws.com'],
  ['eu-west-1', { AWS_USE_DUALSTACK_ENDPOINT: 'true' }, 'sts.eu-west-1.api.aws'],
  ['us-east-1', { AWS_STS_REGIONAL_ENDPOINTS: 'legacy' }, 'sts.us-east-1.amazonaws.com'],
  [
    'eu-west-1',
    { AWS_ENDPOINT_URL_STS: 'https://vpce-0a1b.sts.eu-west-1.vpce.amazonaws.com' },
    'vpce-0a1b.sts.eu-west-1.vpce.amazonaws.com',
  ],
  ['eu-west-1', { AWS_ENDPOINT_URL: 'https://everything.example' }, 'everything.example'],
  [
    'eu-west-1',
    { AWS_ENDPOINT_URL: 'https://everything.example', AWS_ENDPOINT_URL_STS: 'https://sts.example' },
    'sts.example',
  ],
]

for (const [region, env, host] of ENDPOINTS)
  test(`in ${region} with ${JSON.stringify(env)}, ${host} is called`, async () => {
    const asked: string[] = []
    mock.method(dns, 'lookup', (name: string, ...rest: unknown[]) => {
      asked.push(name)
      const callback = rest.at(-1) as (error: Error) => void
      process.nextTick(callback, Object.assign(new Error('no such host'), { code: 'ENOTFOUND' }))
    })
    Object.assign(process.env, KEYS, { AWS_CONFIG_FILE: '/dev/null' }, env)
    const sts = stsClient(region, 1)
    try {
      await assert.rejects(sts.callerArn(), { code: 'ENOTFOUND' })
    } finally {
      sts.close()
    }
    assert.deepEqual(asked, [host])
  })
afterEach(() => {
  mock.restoreAll()
  for (const name of [...MINE, ...Object.keys(KEYS)]) delete process.env[name]
})

const WORLDS = [
  ['cn-north-1', 'aws-cn'],
  ['us-gov-west-1', 'aws-us-gov'],
] as const
for (const [region, partition] of WORLDS)
  test(`a node in ${region} resolves bare role names in partition ${partition}, and a bare glob allows no ARN of another partition`, async () => {
    const world = await World.start({ region })
    try {
      await Promise.all([world.role('app'), world.namespace('shop')])
      await world.broker()
      const { status, body } = await world.ask(await world.pod('shop', 'web', { role: 'app' }))
      assert.deepEqual(
        [status, body.Role, body.RoleArn],
        [200, 'app', `arn:${partition}:iam::111111111111:role/app`],
      )
      const foreign = await world.pod('shop', 'foreign', { role: 'arn:aws:iam::111111111111:role/app' })
      assert.equal(await world.code(foreign), 'role-not-allowed')
      const own = await world.pod('shop', 'own', { role: 'node' })
      assert.equal(await world.code(own), 'role-not-allowed')
    } finally {
      await world.stop()
    }
  })
