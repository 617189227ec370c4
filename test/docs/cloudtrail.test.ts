/** docs/cloudtrail.md: the queries find the session of a pod by the name that the broker gives it, and no others. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
import { DatabaseSync } from 'node:sqlite'
import { text as textOf } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { sessionName } from '../../node-guard/broker/authorize/session-name.ts'
import { needsPeer, peer } from '../peers/peers.ts'
import { tagged } from './markdown.ts'

const PAGE = 'docs/cloudtrail.md'
const POD = { namespace: 'reports', name: 'nightly-7d9f8-x2x4q', uid: '6f1c' }
const SESSION = sessionName(POD, undefined)
const assumed = (session: string) => `arn:aws:sts::111111111111:assumed-role/reports-reader/${session}`

describe('the commands of the AWS CLI', needsPeer('aws'), () => {
  const asked: { target: string; body: Record<string, unknown> }[] = []
  const event = {
    EventId: '1',
    EventName: 'GetObject',
    EventTime: 1764400000,
    EventSource: 's3.amazonaws.com',
    Username: SESSION,
    AccessKeyId: 'ASIAIOSFODNN7EXAMPLE',
  }
  const server = createServer(async (request, response) => {
    asked.push({
      target: String(request.headers['x-amz-target']),
      body: JSON.parse(await textOf(request)),
    })
    response.setHeader('content-type', 'application/x-amz-json-1.1')
    response.end(JSON.stringify({ Events: [event] }))
  })
  before(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)))
  after(() => server.close())

  async function run(tag: string): Promise<string> {
    const address = server.address()
    assert.ok(typeof address === 'object' && address !== null)
    const env = {
      AWS_ENDPOINT_URL: `http://127.0.0.1:${address.port}`,
      AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
      AWS_SECRET_ACCESS_KEY: 'x',
      AWS_CONFIG_FILE: '/dev/null',
      AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
      HOME: '/nonexistent',
      PATH: process.env.PATH,
    }
    const script = tagged(PAGE, tag).text.replace(/^aws /m, `${peer('aws')} `)
    const shell = spawn('bash', ['-euo', 'pipefail', '-c', script], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const [stdout, stderr, code] = await Promise.all([
      textOf(shell.stdout),
      textOf(shell.stderr),
      new Promise((resolve) => shell.on('close', resolve)),
    ])
    assert.equal(code, 0, stderr)
    return stdout
  }

  for (const [tag, key, value, printed] of [
    ['events-of-a-pod', 'Username', SESSION, /s3\.amazonaws\.com\tGetObject\tASIAIOSFODNN7EXAMPLE/],
    ['sessions-of-a-pod', 'ResourceName', assumed(SESSION), /GetObject\t/],
    ['pod-of-a-key', 'AccessKeyId', 'ASIAIOSFODNN7EXAMPLE', new RegExp(`^${SESSION}$`, 'm')],
  ] as const)
    test(`look up ${key} in ${tag}, and print what the page says`, async () => {
      asked.length = 0
      assert.match(await run(tag), printed)
      const [first] = asked
      assert.match(first?.target ?? '', /CloudTrail_20131101\.LookupEvents$/)
      assert.deepEqual(first?.body.LookupAttributes, [{ AttributeKey: key, AttributeValue: value }])
    })
})

describe('the SQL of Athena', () => {
  const database = new DatabaseSync(':memory:')
  after(() => database.close())
  database.function('json_extract_scalar', (json, path) => {
    const value: unknown = JSON.parse(String(json ?? '{}'))[String(path).replace('$.', '')]
    return value === undefined ? null : String(value)
  })
  // The fields of a struct in Athena are columns here.
  const run = (tag: string) =>
    database.prepare(tagged(PAGE, tag).text.replaceAll('useridentity.', 'useridentity_')).all()

  database.exec(
    'CREATE TABLE cloudtrail_logs (eventtime, eventsource, eventname, errorcode, sourceipaddress, useridentity_arn, useridentity_principalid, requestparameters)',
  )
  const insert = database.prepare('INSERT INTO cloudtrail_logs VALUES (?, ?, ?, ?, ?, ?, ?, ?)')
  const did = (session: string, name: string, error: string | null, time = '2026-11-29T10:00:00Z') =>
    insert.run(
      time,
      's3.amazonaws.com',
      name,
      error,
      '10.0.0.1',
      assumed(session),
      `AROAEXAMPLE:${session}`,
      null,
    )
  const gave = (session: string, node: string, time: string) =>
    insert.run(
      time,
      'sts.amazonaws.com',
      'AssumeRole',
      null,
      '10.0.0.1',
      `arn:aws:sts::111111111111:assumed-role/my-node-role/${node}`,
      `AROANODE:${node}`,
      JSON.stringify({
        roleArn: 'arn:aws:iam::111111111111:role/pods/reports-reader',
        roleSessionName: session,
      }),
    )
  const other = sessionName({ ...POD, name: 'nightly-7d9f8-aaaaa' }, undefined)
  const stranger = sessionName({ ...POD, namespace: 'reports-eu' }, undefined)
  did(SESSION, 'GetObject', null)
  did(SESSION, 'PutObject', 'AccessDenied')
  did(SESSION, 'GetObject', null, '2026-11-28T10:00:00Z')
  did(other, 'PutObject', 'Client.AccessDenied', '2026-11-29T11:00:00Z')
  did(stranger, 'PutObject', 'AccessDenied')
  gave(SESSION, 'i-0123456789abcdef0', '2026-11-29T09:00:00Z')
  gave(SESSION, 'i-0123456789abcdef0', '2026-11-29T09:30:00Z')
  gave(stranger, 'i-0123456789abcdef0', '2026-11-29T09:00:00Z')

  test('returns the events of a pod in a time range, and of no other pod', () => {
    assert.deepEqual(
      run('sql-events-of-a-pod').map(({ eventname, errorcode }) => [eventname, errorcode]),
      [
        ['GetObject', null],
        ['PutObject', 'AccessDenied'],
      ],
    )
  })

  test('returns what all pods of a namespace were denied, but not those of a namespace with the same beginning', () => {
    assert.deepEqual(
      run('denied-in-a-namespace').map(({ session, times }) => [session, times]),
      [
        [assumed(other), 1],
        [assumed(SESSION), 1],
      ],
    )
  })

  test('returns each pod with a role once, with its node and the number of sessions', () => {
    assert.deepEqual(
      run('roles-of-a-namespace').map(({ pod, node, sessions, latest }) => [pod, node, sessions, latest]),
      [[SESSION, 'AROANODE:i-0123456789abcdef0', 2, '2026-11-29T09:30:00Z']],
    )
  })
})
