/** `firewall redirect`, the pod's gate, as a process in a pod's network namespace. */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { BROKER_ADDRESSES, METADATA_ADDRESSES, SIDECAR_PORT } from '../../common/addresses.ts'
import { tableCommands } from '../../node-guard/firewall/nft/commands.ts'
import { GUARD_TABLE, guardRuleset } from '../../node-guard/firewall/rules/guard-nft.ts'
import { REDIRECT_TABLE } from '../../node-guard/firewall/rules/pod-nft.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { execIn } from '../sandbox/node/process.ts'
import { until } from '../support/until.ts'
import { NET_ADMIN_ONLY, NO_CAPABILITY } from './guard-process.ts'
import { VARIANTS } from './iptables-rules.ts'
import { addMesh, flushPod, MESH_PORT } from './mesh.ts'
import { type ExecResult, MAIN, openNode, type TestNode } from './node.ts'

const [METADATA4, METADATA6] = METADATA_ADDRESSES
/** Short times, so that a test of a failure does not take a minute. */
const QUICK = ['--proof-timeout=300ms', '--proof-interval=50ms']
const rulesFor = (metadata: readonly string[]) =>
  tableCommands(guardRuleset({ metadata, broker: BROKER_ADDRESSES, uplinks: ['eth0'] })).commands
const RULES = rulesFor(METADATA_ADDRESSES)

describe('firewall redirect', needsNamespaces(), () => {
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

  const gate = (
    flags: readonly string[] = [],
    wrapper: readonly string[] = NET_ADMIN_ONLY,
  ): Promise<ExecResult> =>
    execIn(node.machine, 'pod1', [...wrapper, process.execPath, MAIN, 'redirect', ...flags])
  const open = () => node.must('node', ['nft', `delete table ${GUARD_TABLE}`])
  const pod = async (host: string, port = 80) =>
    (await (await node.agent('pod1')).tcp({ host, port })).outcome
  const hasTable = async () =>
    (await node.run('pod1', ['nft', 'list', 'table', ...REDIRECT_TABLE.split(' ')])).code === 0
  const podRules = () => node.must('pod1', ['nft', '-s', 'list', 'table', ...REDIRECT_TABLE.split(' ')])
  const lastLine = ({ stderr, stdout }: ExecResult) =>
    (stderr.trim() || stdout.trim()).split('\n').at(-1) ?? ''
  const redirected = async () => {
    assert.equal(await pod(METADATA4), 'sidecar')
    assert.equal(await pod(METADATA6), 'sidecar')
  }

  test('exits with 0 when the guard’s block is in place, and redirects the metadata addresses to the sidecar', async () => {
    const result = await gate()
    assert.equal(result.code, 0, result.stderr)
    assert.match(result.stdout, /"msg":"block proven","refused":\["169\.254\.169\.254","fd00:ec2::254"\]/)
    await redirected()
  })

  test('works with a read-only root filesystem', async () => {
    const script =
      'mount --bind / / && mount -o remount,bind,ro / && mount --rbind /run /run && mount -o remount,bind,ro /run && ! touch /run/x /x 2>/dev/null && exec "$@"'
    const readOnly = ['unshare', '--mount', 'sh', '-c', script, 'sh', ...NET_ADMIN_ONLY]
    const result = await gate([], readOnly)
    assert.equal(result.code, 0, result.stderr)
    await redirected()
  })

  test('fails without the guard with the reason as its last line, and does not load the redirect', async () => {
    await open()
    const result = await gate(QUICK)
    assert.equal(result.code, 1)
    assert.match(
      lastLine(result),
      /^pod2iam-gate: 169\.254\.169\.254 answered, fd00:ec2::254 answered; the node guard .*\(tried for \d+(?:\.\d)?s\)\.$/,
    )
    assert.doesNotMatch(await podRules(), /redirect to/)
    assert.equal(await pod(METADATA4), 'aws')
  })

  test('fails if one of two addresses is open', async () => {
    await node.must('node', ['nft', '-f', '-'], rulesFor([METADATA_ADDRESSES[0]]))
    const result = await gate(QUICK)
    assert.equal(result.code, 1)
    assert.match(lastLine(result), /pod2iam-gate: fd00:ec2::254 answered;/)
  })

  test('passes despite a Service with the IPv6 metadata address as externalIP, which pods cannot reach there', async () => {
    const other = await node.agent('pod2')
    await other.listen({ host: '::', port: 8080, name: 'another pod' })
    // The DNAT of kube-proxy for this address, for pods and for the host.
    const claim = `ip6 daddr ${METADATA6} tcp dport 80 dnat to [fd00:244::12]:8080`
    await node.must('node', [
      'nft',
      `table ip6 kube-proxy { chain pre { type nat hook prerouting priority dstnat; ${claim}; }; chain out { type nat hook output priority -100; ${claim}; }; }`,
    ])
    const host = await node.agent('node')
    assert.equal((await host.tcp({ host: METADATA6, port: 80 })).outcome, 'aws')
    assert.equal(await pod(METADATA6), 'ECONNREFUSED')
    const result = await gate(QUICK)
    assert.equal(result.code, 0, result.stderr)
    await redirected()
  })

  test('continues by itself when the guard starts later', async () => {
    await open()
    const child = node.spawn('pod1', [
      ...NET_ADMIN_ONLY,
      process.execPath,
      MAIN,
      'redirect',
      '--proof-interval=50ms',
    ])
    let output = ''
    child.stdout?.on('data', (chunk) => {
      output += chunk
    })
    const ended = new Promise((resolve) => child.once('exit', resolve))
    await until('it logs what it waits for', () =>
      /"msg":"waiting for the block","detail":"169\.254\.169\.254 answered/.test(output),
    )
    await node.must('node', ['nft', RULES])
    assert.equal(await ended, 0)
    await redirected()
  })

  test('keeps waiting with restartPolicy Never, since one failed init container would end the pod', async () => {
    await open()
    const running = gate([...QUICK, '--restart-policy=Never'])
    const early = await Promise.race([running, new Promise((resolve) => setTimeout(resolve, 1500, 'waits'))])
    assert.equal(early, 'waits')
    await node.must('node', ['nft', RULES])
    assert.equal((await running).code, 0)
  })

  test('fails without the guard despite its own redirect of an earlier run', async () => {
    assert.equal((await gate()).code, 0)
    await open()
    const result = await gate(QUICK)
    assert.equal(result.code, 1)
    assert.match(lastLine(result), /169\.254\.169\.254 answered/)
    assert.doesNotMatch(await podRules(), /redirect to/)
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
    assert.equal((await gate(QUICK)).code, 1)
    for (const host of ['127.0.0.1', '::1']) assert.equal(await pod(host, SIDECAR_PORT), 'ECONNREFUSED')
  })

  test('leaves the same table when it runs again', async () => {
    assert.equal((await gate()).code, 0)
    const first = await podRules()
    assert.equal((await gate()).code, 0)
    assert.equal(await podRules(), first)
  })

  for (const mesh of ['istio', 'linkerd'] as const)
    for (const variant of VARIANTS) {
      test(`works after ${mesh} has added rules of iptables-${variant}, which affect neither the check nor the redirect`, async () => {
        await addMesh(node, mesh, variant)
        assert.equal(await pod(METADATA4), 'mesh')
        const result = await gate()
        assert.equal(result.code, 0, result.stderr)
        await redirected()
        assert.equal(await pod('10.0.0.2'), 'mesh')
        await open()
        assert.match(lastLine(await gate(QUICK)), /169\.254\.169\.254 answered, fd00:ec2::254 answered/)
      })

      test(`keeps the redirect and the route to the broker when ${mesh} adds rules of iptables-${variant} later`, async () => {
        assert.equal((await gate()).code, 0)
        await addMesh(node, mesh, variant)
        await redirected()
        // Without a link the node refuses packets to the broker. The mesh would have answered.
        for (const address of BROKER_ADDRESSES) assert.equal(await pod(address, 9171), 'ECONNREFUSED')
        assert.equal(await pod(BROKER_ADDRESSES[0], 9999), 'mesh')
      })
    }

  test('does not count the refusal of a mesh whose proxy is not running yet', async () => {
    await open()
    await node.must('pod1', [
      'iptables-nft',
      '-t',
      'nat',
      '-A',
      'OUTPUT',
      '-p',
      'tcp',
      '-j',
      'REDIRECT',
      '--to-ports',
      '15999',
    ])
    assert.equal(await pod(METADATA4), 'ECONNREFUSED')
    assert.match(lastLine(await gate(QUICK)), /169\.254\.169\.254 answered/)
  })

  test('does not dial an address on its own lo, whose refusal would prove nothing', async () => {
    await node.must('pod1', ['ip', 'addr', 'add', `${METADATA4}/32`, 'dev', 'lo'])
    try {
      assert.match((await gate(QUICK)).stdout, /"msg":"block proven","refused":\["fd00:ec2::254"\]/)
    } finally {
      await node.must('pod1', ['ip', 'addr', 'del', `${METADATA4}/32`, 'dev', 'lo'])
    }
  })

  test('does not count a silent drop as a refusal, except three in a row with --accept-drop', async () => {
    await node.must('node', ['nft', 'flush ruleset'])
    await node.must('node', [
      'nft',
      `add table inet silent; add chain inet silent f { type filter hook forward priority 0; }; add rule inet silent f ip daddr ${METADATA4} drop; add rule inet silent f ip6 daddr ${METADATA6} drop`,
    ])
    const refused = await gate(QUICK)
    assert.equal(refused.code, 1)
    assert.match(lastLine(refused), /169\.254\.169\.254 gave no answer, fd00:ec2::254 gave no answer/)
    const accepted = await gate(['--proof-interval=50ms', '--accept-drop'])
    assert.equal(accepted.code, 0, accepted.stderr)
    await redirected()
  })

  test('fails on an answer also with --accept-drop', async () => {
    await open()
    assert.equal((await gate([...QUICK, '--accept-drop'])).code, 1)
  })

  test('logs its result, continues and loads the redirect with --proof=report', async () => {
    await open()
    const result = await gate(['--proof=report'])
    assert.equal(result.code, 0)
    assert.match(result.stdout, /"level":"warn".*"msg":"block not proven, going on \(--proof=report\)"/)
    await redirected()
  })

  test('fails without NET_ADMIN with a sentence that names it', async () => {
    const result = await gate(QUICK, NO_CAPABILITY)
    assert.equal(result.code, 1)
    assert.match(
      lastLine(result),
      /^pod2iam-gate: the pod's redirect could not be loaded: nft was not permitted to work .* NET_ADMIN capability/,
    )
  })

  test('ends at once on SIGTERM while it checks or waits, and not with 0', async () => {
    await open()
    for (const flags of [['--proof-interval=1h'], ['--proof=report', '--wait-ready=http://127.0.0.1:9/']]) {
      const child = node.spawn('pod1', [...NET_ADMIN_ONLY, process.execPath, MAIN, 'redirect', ...flags])
      let output = ''
      child.stdout?.on('data', (chunk) => {
        output += chunk
      })
      await until('it checks or waits', () => /waiting for the block|redirect loaded/.test(output))
      const started = performance.now()
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGTERM')
      assert.equal(await ended, 143)
      assert.ok(performance.now() - started < 30_000, 'it waits for nothing')
    }
  })

  describe('in mode env', () => {
    const AS_NOBODY = [
      'setpriv',
      '--reuid=65532',
      '--regid=65532',
      '--clear-groups',
      '--bounding-set=-all',
      '--no-new-privs',
      '--',
    ]
    const env = (flags: readonly string[] = []) => gate(['--redirect=env', ...flags], AS_NOBODY)

    test(
      'verifies the block as uid 65532 without any capability, and leaves no table',
      needsNamespaces('root'),
      async () => {
        const result = await env()
        assert.equal(result.code, 0, result.stderr)
        assert.match(result.stdout, /"msg":"block proven"/)
        assert.equal(await hasTable(), false)
      },
    )

    test('fails without the guard', needsNamespaces('root'), async () => {
      await open()
      const result = await env(QUICK)
      assert.equal(result.code, 1)
      assert.match(lastLine(result), /169\.254\.169\.254 answered/)
    })
  })

  describe('waiting for the sidecar', () => {
    const READY = '--wait-ready=http://127.0.0.1:9170/readyz'
    const answers = async (status: number, body: object) =>
      (await node.agent('pod1')).serve({ port: 9170, status, body: JSON.stringify(body) })

    test('exits with 0 when the sidecar is ready', async () => {
      await answers(200, { ready: true, code: 'ready' })
      const result = await gate([READY])
      assert.equal(result.code, 0, result.stderr)
      assert.match(result.stdout, /"msg":"sidecar ready"/)
    })

    test('continues until the sidecar is ready, and then exits', async () => {
      await answers(503, { ready: false, code: 'no-credentials' })
      const running = gate([READY])
      await until('the redirect is in place', async () => (await pod(METADATA4)) === 'sidecar')
      const early = await Promise.race([running, new Promise((resolve) => setTimeout(resolve, 300, 'waits'))])
      assert.equal(early, 'waits')
      await answers(200, { ready: true, code: 'ready' })
      assert.equal((await running).code, 0)
    })

    test('fails after --wait-timeout with the sidecar’s own reason', async () => {
      await answers(503, {
        ready: false,
        code: 'role-not-allowed',
        detail: 'namespace web may not use role x',
      })
      const result = await gate([READY, '--wait-timeout=200ms'])
      assert.equal(result.code, 1)
      assert.match(
        lastLine(result),
        /^pod2iam-gate: the sidecar at 127\.0\.0\.1:9170 was not ready after \d+(?:\.\d)?s \(role-not-allowed: namespace web may not use role x\)\.$/,
      )
    })

    test('fails after --wait-timeout with the reason that nothing listens', async () => {
      const result = await gate(['--wait-ready=http://127.0.0.1:9/', '--wait-timeout=100ms'])
      assert.match(lastLine(result), /\(not-listening\)/)
    })
  })

  test('reports all mistakes in its flags together, with exit code 2', async () => {
    const { code, stderr } = await gate([
      '--redirect=iptables',
      '--wait-ready=https://x/',
      '--proof-timeout=0s',
    ])
    assert.equal(code, 2)
    assert.equal(stderr.trim().split('\n').length, 3)
  })
})

describe('firewall redirect in a pod of one family', needsNamespaces(), () => {
  for (const [family, other, delRoute] of [
    ['IPv6', METADATA4, ['ip', '-4', 'route', 'flush', 'dev', 'eth0']],
    ['IPv4', METADATA6, ['ip', '-6', 'route', 'flush', 'dev', 'eth0']],
  ] as const)
    test(`verifies the reachable address with ${family} only and redirects both addresses, also when it runs again`, async () => {
      const node = await openNode()
      try {
        const pod = await node.agent('pod1')
        for (const host of ['127.0.0.1', '::1'])
          await pod.listen({ host, port: SIDECAR_PORT, name: 'sidecar' })
        await node.must('pod1', delRoute)
        assert.equal((await pod.tcp({ host: other, port: 80 })).outcome, 'ENETUNREACH')
        await node.must('node', ['nft', RULES])
        for (const run of [1, 2]) {
          const result = await node.run('pod1', [
            ...NET_ADMIN_ONLY,
            process.execPath,
            MAIN,
            'redirect',
            ...QUICK,
          ])
          assert.equal(result.code, 0, `run ${run}: ${result.stderr}`)
          assert.match(
            result.stdout,
            new RegExp(`"refused":\\["${family === 'IPv4' ? METADATA4 : METADATA6}"\\]`),
          )
          for (const host of METADATA_ADDRESSES)
            assert.equal((await pod.tcp({ host, port: 80 })).outcome, 'sidecar')
        }
      } finally {
        await node.close()
      }
    })
})
