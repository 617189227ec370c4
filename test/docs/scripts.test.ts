/** Shell blocks that compute something, run with bash and jq on made-up answers of kubectl and aws. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { needsPeer } from '../peers/peers.ts'
import { page, tagged } from './markdown.ts'
import { type Call, ok, type StandIn, startStandIns } from './stand-ins.ts'

const RUNNING_SINCE = '2026-01-01T00:00:00Z'

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

/** As the kernel's whole seconds can have it of a pod that asked right after its start. */
const LONG_AGO = '2025-12-31T23:59:58.500Z'
const LATELY = new Date(Date.now() - 60_000).toISOString()

const seen = (address: string, via: string, packets: number, lastSeen = LONG_AGO) => ({
  address,
  via,
  packets,
  lastSeen,
})

const LEFTOVER =
  'iptables-nft -t nat -D PREROUTING -d 169.254.169.254/32 -j DNAT --to-destination 10.0.0.10:8181'

/**
 * Two nodes. An address was a Job's that has ended, and is a living pod's now, which asked, too; another is that of a pod that
 * started after it was seen; a third one belongs to nobody since long.
 */
const kubectl: StandIn = ({ args }: Call) => {
  const line = args.join(' ')
  if (line === 'get pods --all-namespaces -o json')
    return ok(
      JSON.stringify({
        items: [
          pod('old-job', '10.244.1.7', { phase: 'Succeeded' }),
          // A label says nothing: anybody could write this one, and take the other one's away.
          pod('nightly', '10.244.1.7', { labels: { 'pod2iam.dev/injected': 'true' } }),
          pod('moved', '10.244.1.8', { sidecar: true }),
          pod('ended', '10.244.1.9', { sidecar: true, phase: 'Succeeded' }),
          pod('served', '10.244.2.9'),
          pod('heir', '10.244.2.11', { startTime: new Date().toISOString().replace(/\.\d+/, '') }),
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
        audit: [
          seen('10.244.2.9', 'dnat', 12),
          seen('10.244.2.10', 'direct', 2, LATELY),
          seen('10.244.2.11', 'direct', 3, LATELY),
          seen('10.244.2.12', 'direct', 9),
        ],
        leftovers: [{ kind: 'kube2iam-or-kiam', rule: 'x', remove: LEFTOVER }],
      }),
    )
  throw new Error(`nobody expects kubectl ${line}`)
}

test(
  'the list of who would be refused names living pods that asked themselves, leaves out injected ones and what is long gone, and adds up all nodes',
  needsPeer('jq'),
  async () => {
    const { stdout } = await run(tagged('docs/operations.md', 'who-asks').text, { kubectl })
    assert.deepEqual(stdout.trim().split('\n'), [
      `direct\tgone\t10.244.2.10\t2\t${LATELY}`,
      `direct\tgone\t10.244.2.11\t3\t${LATELY}`,
      `direct\treports\tnightly\t4\t${LONG_AGO}`,
      `dnat\treports\tserved\t12\t${LONG_AGO}`,
    ])
  },
)

test(
  'who uninstalls is told of every living pod with a sidecar, labelled or not',
  needsPeer('jq'),
  async () => {
    const { stdout } = await run(tagged('docs/operations.md', 'who-has-a-sidecar').text, { kubectl })
    assert.equal(stdout, 'reports\tmoved\n')
  },
)

test('the list of roles in use has each once, with what its namespace allows', needsPeer('jq'), async () => {
  const annotated = (name: string, namespace: string, role?: string, spec = {}) => ({
    metadata: { name, namespace, ...(role ? { annotations: { 'iam.amazonaws.com/role': role } } : {}) },
    spec,
  })
  const answers: Record<string, unknown[]> = {
    'get namespaces -o json': [
      { metadata: { name: 'reports', annotations: { 'iam.amazonaws.com/allowed-roles': '["reports-*"]' } } },
      { metadata: { name: 'shop' } },
    ],
    'get pods --all-namespaces -o json': [
      annotated('nightly-1', 'reports', 'reports-reader'),
      annotated('nightly-2', 'reports', 'reports-reader'),
      annotated('plain', 'reports'),
      annotated('cart', 'shop', 'cart'),
      annotated('agent', 'shop', 'agent', { hostNetwork: true }),
    ],
  }
  const { stdout } = await run(tagged('docs/migrating-from-kube2iam.md', 'who-needs-a-list').text, {
    kubectl: ({ args }) => ok(JSON.stringify({ items: answers[args.join(' ')] })),
  })
  assert.deepEqual(stdout.split('\n').slice(0, -1), [
    'reports\treports-reader\t["reports-*"]\t',
    'shop\tcart\tno list\t',
  ])
})

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
