/** Shell blocks that compute something, run with bash and jq and with invented answers of kubectl and aws. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { needsPeer } from '../peers/peers.ts'
import { tagged } from './markdown.ts'
import { type Call, ok, type StandIn, startStandIns } from './stand-ins.ts'

const RUNNING_SINCE = '2026-01-01T00:00:00Z'

/** Runs a script, and returns its output and the files that it leaves, by name. */
async function run(script: string, programs: Readonly<Record<string, StandIn>>) {
  const standIns = await startStandIns(programs)
  try {
    const shell = spawn('bash', ['-euo', 'pipefail', '-c', script], {
      cwd: standIns.directory,
      env: { ...process.env, PATH: standIns.path },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let stdout = ''
    shell.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk
    })
    const code = await new Promise((resolve) => shell.on('close', resolve))
    assert.equal(code, 0)
    const { directory } = standIns
    const files = new Map(
      readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), 'utf8')]),
    )
    return { stdout, files }
  } finally {
    await standIns.close()
  }
}

function pod(
  name: string,
  address: string,
  more: {
    labels?: object
    hostNetwork?: boolean
    phase?: string
    startTime?: string
    sidecar?: boolean
  } = {},
) {
  const { labels = {}, hostNetwork = false, phase = 'Running', startTime = RUNNING_SINCE } = more
  const initContainers = ['migrate', 'pod2iam-sidecar'].map((name) => ({ name }))
  return {
    metadata: { name, namespace: 'reports', labels },
    spec: { hostNetwork, ...(more.sidecar ? { initContainers } : {}) },
    status: { phase, startTime, podIPs: [{ ip: address }] },
  }
}

/** Pods whose labels prove nothing, since anybody could add or remove one. */
const kubectl: StandIn = ({ args }: Call) => {
  const line = args.join(' ')
  if (line === 'get pods --all-namespaces -o json')
    return ok(
      JSON.stringify({
        items: [
          pod('nightly', '10.244.1.7', { labels: { 'pod2iam.dev/injected': 'true' } }),
          pod('moved', '10.244.1.8', { sidecar: true }),
          pod('ended', '10.244.1.9', { sidecar: true, phase: 'Succeeded' }),
          pod('agent', '10.0.0.10', { hostNetwork: true }),
        ],
      }),
    )
  throw new Error(`unexpected: kubectl ${line}`)
}

test(
  'the command of docs/operations.md lists every living pod with a sidecar, labelled or not',
  needsPeer('jq'),
  async () => {
    const { stdout } = await run(tagged('docs/operations.md', 'who-has-a-sidecar').text, { kubectl })
    assert.equal(stdout, 'reports\tmoved\n')
  },
)

test('the policy of docs/operations.md that revokes sessions is JSON, denies everything, and has the present time', async () => {
  const calls: string[] = []
  const before = Math.floor(Date.now() / 1000) * 1000
  const { files } = await run(tagged('docs/operations.md', 'revoke').text, {
    aws: ({ args }) => {
      calls.push(args.join(' '))
      return ok()
    },
  })
  assert.deepEqual(calls, [
    'iam put-role-policy --role-name reports-reader --policy-name AWSRevokeOlderSessions --policy-document file://revoke.json',
  ])
  const [statement] = JSON.parse(files.get('revoke.json') ?? '').Statement
  const { 'aws:TokenIssueTime': time } = statement.Condition.DateLessThan
  assert.deepEqual([statement.Effect, statement.Action, statement.Resource], ['Deny', '*', '*'])
  assert.ok(Date.parse(time) >= before && Date.parse(time) <= Date.now(), time)
})
