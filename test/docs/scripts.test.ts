/** Shell blocks that compute something, run with bash and jq on made-up answers of kubectl and aws. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { needsPeer } from '../peers.ts'
import { page, tagged } from './markdown.ts'
import { type Call, ok, type StandIn, startStandIns } from './stand-ins.ts'

/** Runs a script; returns what it prints, and the files it leaves by name. */
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
  more: { labels?: object; hostNetwork?: boolean; phase?: string } = {},
) {
  const { labels = {}, hostNetwork = false, phase = 'Running' } = more
  return {
    metadata: { name, namespace: 'reports', labels },
    spec: { hostNetwork },
    status: { phase, podIPs: [{ ip: address }] },
  }
}

const seen = (address: string, via: string, packets: number) => ({
  address,
  via,
  packets,
  lastSeen: '2026-01-01T00:00:00.000Z',
})

const LEFTOVER =
  'iptables-nft -t nat -D PREROUTING -d 169.254.169.254/32 -j DNAT --to-destination 10.0.0.10:8181'

/** Two nodes. An address was a Job's that has ended, and is a living pod's now. */
const kubectl: StandIn = ({ args }: Call) => {
  const line = args.join(' ')
  if (line === 'get pods --all-namespaces -o json')
    return ok(
      JSON.stringify({
        items: [
          pod('old-job', '10.244.1.7', { phase: 'Succeeded' }),
          pod('nightly', '10.244.1.7'),
          pod('moved', '10.244.1.8', { labels: { 'pod2iam.dev/injected': 'true' } }),
          pod('served', '10.244.2.9'),
          pod('agent', '10.0.0.10', { hostNetwork: true }),
        ],
      }),
    )
  if (line.startsWith('-n pod2iam-system get pods -l app.kubernetes.io/component=node-guard'))
    return ok('pod/a\npod/b\n')
  const [, node] =
    /exec pod\/([ab]) -c firewall -- \/nodejs\/bin\/node \/pod2iam\/firewall\.cjs status --json/.exec(line) ??
    []
  if (node === 'a')
    return ok(
      JSON.stringify({
        audit: [seen('10.244.1.7', 'direct', 4), seen('10.244.1.8', 'direct', 1)],
        leftovers: [],
      }),
    )
  if (node === 'b')
    return ok(
      JSON.stringify({
        audit: [seen('10.244.2.9', 'dnat', 12), seen('10.244.2.10', 'direct', 2)],
        leftovers: [{ kind: 'kube2iam-or-kiam', rule: 'x', remove: LEFTOVER }],
      }),
    )
  throw new Error(`nobody expects kubectl ${line}`)
}

test(
  'the list of who would be refused names living pods, leaves out injected ones, and adds up all nodes',
  needsPeer('jq'),
  async () => {
    const { stdout } = await run(tagged('docs/operations.md', 'who-asks').text, { kubectl })
    const at = '2026-01-01T00:00:00.000Z'
    assert.deepEqual(stdout.trim().split('\n'), [
      `direct\tgone\t10.244.2.10\t2\t${at}`,
      `direct\treports\tnightly\t4\t${at}`,
      `dnat\treports\tserved\t12\t${at}`,
    ])
  },
)

for (const file of ['docs/migrating-from-kube2iam.md', 'docs/migrating-from-kiam.md'])
  test(
    `${file}: the list of leftovers prints the command for each, and on how many nodes`,
    needsPeer('jq'),
    async () => {
      const [block] = page(file).blocks.filter(({ text }) => text.includes('.leftovers[]'))
      const { stdout } = await run(block?.text ?? '', { kubectl })
      assert.equal(stdout.trim(), `1 ${LEFTOVER}`)
    },
  )

test('the policy that revokes sessions is JSON, denies everything, and is of now', async () => {
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
