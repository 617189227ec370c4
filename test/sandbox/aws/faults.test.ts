import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import type { STSClient } from '@aws-sdk/client-sts'
import { until } from '../../support/until.ts'
import { Aws, type Fault, trust } from './client.ts'
import { assume, nodeCredentials, refusalOf, stsClient } from './support.ts'

let aws: Aws
let node: STSClient

before(async () => {
  aws = await Aws.start()
})
after(() => aws.stop())
beforeEach(async () => {
  await aws.reset()
  for (const arn of ['one', 'two'])
    await aws.putRole({ arn, trustPolicy: trust({ principal: aws.config.nodeRoleArn }) })
  node = stsClient(aws, { credentials: await nodeCredentials(aws) })
})

const ask = (role = 'one') => assume(node, aws.roleArn(role))
const region = () => fetch(`${aws.imdsUrl}latest/meta-data/placement/region`)

const stsFaults: [Fault, RegExp, string][] = [
  [{ service: 'sts', kind: 'throttle' }, /^Throttling: Rate exceeded$/, 'Throttling'],
  [
    { service: 'sts', kind: 'deny' },
    /^AccessDenied: User: .*assumed-role\/node\/.* perform: sts:AssumeRole on/,
    'AccessDenied',
  ],
  [{ service: 'sts', kind: 'unavailable' }, /^ServiceUnavailable: /, 'ServiceUnavailable'],
  [{ service: 'sts', kind: 'unavailable', status: 500 }, /^InternalFailure: /, 'InternalFailure'],
  [
    { service: 'sts', kind: 'error', status: 403, code: 'RegionDisabledException', message: 'off' },
    /^RegionDisabledException: off$/,
    'RegionDisabledException',
  ],
  [{ service: 'sts', kind: 'close' }, /ECONNRESET|socket hang up/, 'close'],
  [{ service: 'sts', kind: 'hang', ms: 50 }, /ECONNRESET|socket hang up/, 'hang'],
  [{ service: 'sts', kind: 'answer', status: 200, body: '<html>captive portal' }, /./, 'answer'],
]

for (const [fault, message, outcome] of stsFaults)
  test(`STS fault ${JSON.stringify(fault)} applies to the set number of calls, and then STS answers properly`, async () => {
    await aws.fault({ ...fault, calls: 2 })
    assert.match(await refusalOf(ask()), message)
    assert.match(await refusalOf(ask()), message)
    await ask()
    assert.deepEqual((await aws.counts()).byOutcome, { [outcome]: 2, Success: 1 })
  })

test('the SDK retries a throttled and an unavailable call, and succeeds', async () => {
  const patient = stsClient(aws, { credentials: node.config.credentials, maxAttempts: 3 })
  await aws.fault({ service: 'sts', kind: 'throttle', calls: 1 })
  await aws.fault({ service: 'sts', kind: 'unavailable', calls: 1 })
  await assume(patient, aws.roleArn('one'))
  assert.equal((await aws.counts()).assumeRole, 3)
})

test('a fault for one role does not affect another, and lasts until it is cleared', async () => {
  const id = await aws.fault({ service: 'sts', kind: 'deny', role: 'one' })
  for (let i = 0; i < 3; i++) assert.match(await refusalOf(ask()), /^AccessDenied/)
  await ask('two')
  await aws.clearFaults(id)
  await ask()
  await aws.fault({ service: 'sts', kind: 'throttle', action: 'GetCallerIdentity' })
  await ask()
  await aws.fault({ service: 'sts', kind: 'throttle' })
  assert.match(await refusalOf(ask()), /^Throttling/)
  await aws.clearFaults()
  await ask()
})

test('a slow STS answers properly, and many callers can wait at the same time', async () => {
  await aws.fault({ service: 'sts', kind: 'slow', ms: 3000 })
  const began = performance.now()
  await Promise.all(Array.from({ length: 20 }, () => ask()))
  const took = performance.now() - began
  assert.ok(took >= 2998, `${took}`)
  const { peakInFlight } = await aws.counts()
  assert.ok(peakInFlight >= 10 && peakInFlight <= 20, `${peakInFlight}`)
})

test('a hanging call ends when the client gives up, and is recorded', async () => {
  await aws.fault({ service: 'sts', kind: 'hang' })
  const body = new URLSearchParams({ Action: 'GetCallerIdentity', Version: '2011-06-15' })
  await until('the call is on record', async () => {
    // Repeated, because the client may have given up before its call arrived.
    await assert.rejects(fetch(aws.stsUrl, { method: 'POST', body, signal: AbortSignal.timeout(100) }))
    return (await aws.calls({ outcome: 'hang' })).length > 0
  })
})

const imdsFaults: [Fault, number][] = [
  [{ service: 'imds', kind: 'throttle' }, 429],
  [{ service: 'imds', kind: 'deny' }, 403],
  [{ service: 'imds', kind: 'unavailable' }, 503],
  [{ service: 'imds', kind: 'unavailable', status: 500 }, 500],
  [{ service: 'imds', kind: 'error', status: 401, code: '', message: '' }, 401],
  [{ service: 'imds', kind: 'answer', status: 418, body: 'no' }, 418],
]

for (const [fault, status] of imdsFaults)
  test(`metadata fault ${JSON.stringify(fault)} answers ${status} once, and then the service answers properly`, async () => {
    await aws.fault({ ...fault, calls: 1 })
    assert.equal((await region()).status, status)
    assert.equal((await region()).status, 200)
    assert.deepEqual(
      (await aws.imdsRequests()).slice(-2).map((it) => it.status),
      [status, 200],
    )
  })

test('a metadata fault can be limited to a path or a peer, and can close, hang and slow down requests', async () => {
  await aws.fault({ service: 'imds', kind: 'deny', path: '/latest/api/token' })
  await aws.fault({ service: 'imds', kind: 'deny', peer: '10.9.9.9' })
  assert.equal((await region()).status, 200)
  assert.equal((await fetch(`${aws.imdsUrl}latest/api/token`, { method: 'PUT' })).status, 403)
  await aws.fault({ service: 'imds', kind: 'close', calls: 1 })
  await assert.rejects(region())
  await aws.fault({ service: 'imds', kind: 'hang', ms: 30, calls: 1 })
  await assert.rejects(region())
  await aws.fault({ service: 'imds', kind: 'slow', ms: 40, calls: 1 })
  const began = performance.now()
  assert.equal((await region()).status, 200)
  assert.ok(performance.now() - began >= 39)
})

test('an invalid fault is refused with a sentence', async () => {
  await assert.rejects(
    aws.fault({ service: 'ec2', kind: 'deny' } as unknown as Fault),
    /service "sts" or "imds"/,
  )
  await assert.rejects(aws.fault({ service: 'sts', kind: 'deny', calls: 0 }), /positive whole number/)
  await assert.rejects(aws.fault({ service: 'sts', kind: 'hang', ms: 1e9 }), /from 0 to 120000/)
  await assert.rejects(aws.fault({ service: 'sts', kind: 'explode' } as unknown as Fault), /"explode" is not/)
})
