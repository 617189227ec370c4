/** `firewall redirect` in pods where nft does not work. */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { BROKER_ADDRESSES, METADATA_ADDRESSES, SIDECAR_PORT } from '../../common/addresses.ts'
import { tableCommands } from '../../node-guard/firewall/nft/commands.ts'
import { GUARD_TABLE, guardRuleset } from '../../node-guard/firewall/rules/guard-nft.ts'
import { REDIRECT_CHAIN } from '../../node-guard/firewall/rules/pod-iptables.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { ADMIN_AND_RAW, NET_ADMIN_ONLY, NO_CAPABILITY } from './guard-process.ts'
import { VARIANTS } from './iptables-rules.ts'
import { addMesh, flushPod, MESH_PORT, type Mesh } from './mesh.ts'
import { type ExecResult, MAIN, openNode, type TestNode } from './node.ts'
import { IPTABLES_TOOLS, withoutTools } from './without-tools.ts'

const [METADATA4, METADATA6] = METADATA_ADDRESSES
const QUICK = ['--proof-timeout=300ms', '--proof-interval=50ms']
const RULES = tableCommands(
  guardRuleset({ metadata: METADATA_ADDRESSES, broker: BROKER_ADDRESSES, uplinks: ['eth0'] }),
).commands
const NO_NF_TABLES = `echo 'netlink: Error: cache initialization failed: Protocol not supported' >&2; exit 1`
/** As in a container with `readOnlyRootFilesystem`: there is no place for a lock file. */
const READ_ONLY = [
  'unshare',
  '--mount',
  'sh',
  '-c',
  'mount --rbind /run /run && mount -o remount,bind,ro /run && exec "$@"',
  'sh',
]

/** Kinds of pods in which nft does not work, and the variants of iptables that the gate uses there. */
const PODS = {
  'without nft, NET_ADMIN alone': {
    wrapper: [...withoutTools(['nft']), ...READ_ONLY, ...NET_ADMIN_ONLY],
    used: ['nft'],
  },
  'without nft, with NET_RAW': {
    wrapper: [...withoutTools(['nft']), ...READ_ONLY, ...ADMIN_AND_RAW],
    used: ['nft', 'legacy'],
  },
  'without nf_tables, with NET_RAW': {
    wrapper: [
      ...withoutTools(
        [],
        Object.fromEntries(
          ['nft', ...IPTABLES_TOOLS.filter((name) => name.includes('-nft'))].map((name) => [
            name,
            NO_NF_TABLES,
          ]),
        ),
      ),
      ...READ_ONLY,
      ...ADMIN_AND_RAW,
    ],
    used: ['legacy'],
  },
} as const

for (const [kind, { wrapper, used }] of Object.entries(PODS))
  describe(`firewall redirect ${kind}`, needsNamespaces(), () => {
    let node: TestNode
    before(async () => {
      node = await openNode()
      const aws = await node.agent('aws')
      const pod = await node.agent('pod1')
      for (const host of ['0.0.0.0', '::']) await aws.listen({ host, port: 80, name: 'aws' })
      for (const host of ['127.0.0.1', '::1']) {
        await pod.listen({ host, port: SIDECAR_PORT, name: 'sidecar' })
        await pod.listen({ host, port: MESH_PORT, name: 'mesh' })
      }
    })
    after(() => node?.close())
    beforeEach(() => node.must('node', ['nft', RULES]))
    afterEach(async () => {
      await node.must('node', ['nft', 'flush ruleset'])
      await flushPod(node)
    })

    const gate = (): Promise<ExecResult> =>
      node.run('pod1', [...wrapper, process.execPath, MAIN, 'redirect', ...QUICK])
    const open = () => node.must('node', ['nft', `delete table ${GUARD_TABLE}`])
    const pod = async (host: string, port = 80) =>
      (await (await node.agent('pod1')).tcp({ host, port })).outcome
    const rules = async () => {
      const texts = await Promise.all(
        VARIANTS.flatMap((variant) =>
          ['ip', 'ip6'].map((ip) => node.must('pod1', [`${ip}tables-${variant}-save`])),
        ),
      )
      return texts.map((text) => text.split('\n').filter((line) => line.includes(REDIRECT_CHAIN)))
    }
    const lastLine = ({ stderr }: ExecResult) => stderr.trim().split('\n').at(-1) ?? ''
    const redirected = async () => {
      assert.equal(await pod(METADATA4), 'sidecar')
      assert.equal(await pod(METADATA6), 'sidecar')
    }

    test('verifies the block and loads the redirect with a read-only root, and logs why it uses iptables', async () => {
      const result = await gate()
      assert.equal(result.code, 0, result.stderr)
      assert.match(result.stdout, /"msg":"nft does not work in this pod, iptables is tried","detail":"/)
      assert.match(result.stdout, /"msg":"block proven","refused":\["169\.254\.169\.254","fd00:ec2::254"\]/)
      await redirected()
      assert.deepEqual(
        (await rules()).map((lines) => lines.length > 0),
        VARIANTS.flatMap((variant) =>
          [used, used].map((list) => (list as readonly string[]).includes(variant)),
        ),
      )
    })

    test('allows no direct connection to the sidecar, such as one by kubectl port-forward', async () => {
      for (const run of [1, 2]) {
        assert.equal((await gate()).code, 0, `run ${run}`)
        await redirected()
        for (const host of ['127.0.0.1', '::1'])
          assert.equal(await pod(host, SIDECAR_PORT), 'ECONNREFUSED', `${host}, run ${run}`)
        // Other ports of the pod, such as the sidecar's health port, are not affected.
        assert.equal(await pod('127.0.0.1', MESH_PORT), 'mesh')
      }
    })

    test('refuses packets that another rule redirects to the sidecar from another address or port', async () => {
      assert.equal((await gate()).code, 0)
      for (const [ip, address, port] of [
        ['iptables', '10.0.0.2', '80'],
        ['iptables', METADATA4, '8080'],
        ['ip6tables', METADATA6, '8080'],
      ] as const) {
        const rule = ['-p', 'tcp', '-d', address, '--dport', port, '-j', 'REDIRECT', '--to-ports']
        await node.must('pod1', [`${ip}-nft`, '-t', 'nat', '-A', 'OUTPUT', ...rule, String(SIDECAR_PORT)])
        assert.equal(await pod(address, Number(port)), 'ECONNREFUSED', `${address}:${port}`)
      }
      await redirected()
    })

    test('allows no connection to the sidecar before the block is verified', async () => {
      await open()
      assert.equal((await gate()).code, 1)
      for (const host of ['127.0.0.1', '::1']) assert.equal(await pod(host, SIDECAR_PORT), 'ECONNREFUSED')
    })

    test('leaves the same rules when it runs again', async () => {
      assert.equal((await gate()).code, 0)
      const first = await rules()
      assert.equal((await gate()).code, 0)
      assert.deepEqual(await rules(), first)
    })

    test('fails without the guard despite its own redirect of an earlier run, and removes that', async () => {
      assert.equal((await gate()).code, 0)
      await open()
      const result = await gate()
      assert.equal(result.code, 1)
      assert.match(
        lastLine(result),
        /^pod2iam-gate: 169\.254\.169\.254 answered, fd00:ec2::254 answered; the node guard/,
      )
      assert.equal(await pod(METADATA4), 'aws')
    })

    for (const mesh of ['istio', 'linkerd'] as const satisfies Mesh[])
      for (const variant of VARIANTS) {
        // If the kernel has no nf_tables, a mesh cannot use it either.
        if (variant === 'nft' && kind.startsWith('without nf_tables')) continue
        test(`works after ${mesh} has added rules of iptables-${variant}, which affect neither the check nor the redirect`, async () => {
          await addMesh(node, mesh, variant)
          assert.equal(await pod(METADATA4), 'mesh')
          const result = await gate()
          assert.equal(result.code, 0, result.stderr)
          await redirected()
          assert.equal(await pod('10.0.0.2'), 'mesh')
          await open()
          assert.match(lastLine(await gate()), /169\.254\.169\.254 answered, fd00:ec2::254 answered/)
        })

        // A nat table that is created later is evaluated first, so a mesh of the other variant fails to take it only if ours is in both.
        if (used.length === 1 && used[0] !== variant) continue
        test(`keeps the redirect and the route to the broker when ${mesh} adds rules of iptables-${variant} later`, async () => {
          assert.equal((await gate()).code, 0)
          await addMesh(node, mesh, variant)
          await redirected()
          for (const address of BROKER_ADDRESSES) assert.equal(await pod(address, 9171), 'ECONNREFUSED')
          assert.equal(await pod(BROKER_ADDRESSES[0], 9999), 'mesh')
        })
      }
  })

describe('firewall redirect by iptables in a pod of one family', needsNamespaces(), () => {
  for (const [family, without, left] of [
    ['IPv6', '-4', METADATA6],
    ['IPv4', '-6', METADATA4],
  ] as const)
    test(`verifies the reachable address with ${family} only and redirects both addresses, also when it runs again`, async () => {
      const node = await openNode()
      try {
        const pod = await node.agent('pod1')
        for (const host of ['127.0.0.1', '::1'])
          await pod.listen({ host, port: SIDECAR_PORT, name: 'sidecar' })
        await node.must('pod1', ['ip', without, 'route', 'flush', 'dev', 'eth0'])
        await node.must('node', ['nft', RULES])
        for (const run of [1, 2]) {
          const { wrapper } = PODS['without nft, NET_ADMIN alone']
          const result = await node.run('pod1', [...wrapper, process.execPath, MAIN, 'redirect', ...QUICK])
          assert.equal(result.code, 0, `run ${run}: ${result.stderr}`)
          assert.ok(result.stdout.includes(`"refused":["${left}"]`), result.stdout)
          for (const host of METADATA_ADDRESSES)
            assert.equal((await pod.tcp({ host, port: 80 })).outcome, 'sidecar')
        }
      } finally {
        await node.close()
      }
    })
})

describe('firewall redirect without a usable nft or iptables', needsNamespaces(), () => {
  test('fails with one sentence that names what each of them lacks', async () => {
    const node = await openNode()
    try {
      const gate = (wrapper: readonly string[]) =>
        node.run('pod1', [...wrapper, process.execPath, MAIN, 'redirect', ...QUICK])
      const bare = await gate([...withoutTools(['nft', ...IPTABLES_TOOLS]), ...NET_ADMIN_ONLY])
      assert.equal(bare.code, 1)
      assert.match(
        bare.stderr,
        /^pod2iam-gate: the pod's redirect could not be loaded: nft cannot be run .*; iptables-nft cannot be run .*; iptables-legacy cannot be run .*\n$/,
      )
      const powerless = await gate([...withoutTools(['nft']), ...NO_CAPABILITY])
      assert.equal(powerless.code, 1)
      assert.match(
        powerless.stderr,
        /^pod2iam-gate: the pod's redirect could not be loaded: nft cannot be run .*NET_ADMIN.*\n$/,
      )
    } finally {
      await node.close()
    }
  })
})
