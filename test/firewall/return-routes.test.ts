/** The guard's policy routing for answers: what it adds for pods behind the routing of others, and nothing more. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { BROKER_ADDRESSES, METADATA_ADDRESSES } from '../../common/addresses.ts'
import {
  ensureReturnRoutes,
  type PolicyRule,
  removeReturnRoutes,
  wantedRules,
} from '../../node-guard/firewall/node/return-routes.ts'
import { LAYOUTS } from '../sandbox/node/layouts.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { until } from '../support/until.ts'
import { startGuard } from './guard-process.ts'
import { nodeExec, openNode, type TestNode } from './node.ts'

const OPTIONS = { metadata: ['169.254.169.254'], broker: ['169.254.170.24'] }
const LOCAL: PolicyRule = { priority: 0, src: 'all', table: 'local' }
const MAIN: PolicyRule = { priority: 32766, src: 'all', table: 'main' }
const BY_DEVICE: PolicyRule = { priority: 10, src: 'all', iif: 'vlan1', table: '101' }
const HIDDEN = [{ destination: '10.244.1.11', device: 'vlan1' }]

const CASES: Record<string, [readonly PolicyRule[], readonly (typeof HIDDEN)[number][], readonly string[]]> =
  {
    'no rule is added to the kernel’s own rules': [[LOCAL, MAIN], [], []],
    'a rule is added for the broker if another one comes before the local table': [
      [BY_DEVICE, LOCAL, MAIN],
      [],
      ['to 169.254.170.24 lookup local'],
    ],
    'a rule is added for the broker if there is none for the local table': [
      [BY_DEVICE, MAIN],
      [],
      ['to 169.254.170.24 lookup local'],
    ],
    'a rule for the local table that applies to one address does not count as the local table': [
      [{ priority: 0, src: 'fe80::1', table: 'local' }, BY_DEVICE, LOCAL],
      [],
      ['to 169.254.170.24 lookup local'],
    ],
    'a rule by mark before the local table, as of a proxy, needs no rule for the broker': [
      [{ priority: 9, src: 'all', fwmark: '0x200', table: '2004' }, LOCAL, MAIN],
      [],
      [],
    ],
    'a rule for the local table that applies to one address needs no rule for the broker': [
      [{ priority: 0, src: 'fe80::1', table: 'local' }, LOCAL, MAIN],
      [],
      [],
    ],
    'a rule of VRFs before the local table needs no rule for the broker': [
      [{ priority: 1000, src: 'all', l3mdev: null }, LOCAL, MAIN],
      [],
      [],
    ],
    'our own rules before the local table need no rule for the broker': [
      [{ priority: 8, src: 'all', dst: '169.254.170.24', table: 'local', protocol: '169' }, LOCAL, MAIN],
      [],
      [],
    ],
    'answers to hidden pods use our table': [
      [LOCAL, BY_DEVICE, MAIN],
      HIDDEN,
      ['from 169.254.170.24 iif lo lookup 169254', 'from 169.254.169.254 iif lo lookup 169254'],
    ],
  }

for (const [what, [rules, hidden, wanted]] of Object.entries(CASES))
  test(what, () => assert.deepEqual(wantedRules(rules, hidden, OPTIONS), wanted))

const FULL = { metadata: METADATA_ADDRESSES, broker: BROKER_ADDRESSES }

describe('answer routes on a node', needsNamespaces(), () => {
  let node: TestNode
  before(async () => {
    node = await openNode(LAYOUTS['vpc-cni-strict-local-first'])
  })
  after(() => node?.close())
  const rules = async () =>
    (await node.must('node', ['ip', 'rule'])) + (await node.must('node', ['ip', '-6', 'rule']))
  const answers = async () => {
    const listed = await Promise.all(
      ['-4', '-6'].map((family) => node.run('node', ['ip', family, 'route', 'show', 'table', '169254'])),
    )
    return listed.map(({ stdout }) => stdout).join('')
  }

  test('existing rules are left alone, missing ones are added, and unneeded ones are removed', async () => {
    const before = await rules()
    const hidden = [
      { destination: '10.244.1.11', device: 'veth11' },
      { destination: 'fd00:244::11', device: 'veth11' },
    ]
    const exec = nodeExec(node)
    assert.equal(await ensureReturnRoutes(exec, FULL, hidden), undefined)
    const made = await rules()
    assert.match(made, /^8:\s+from 169\.254\.169\.254 iif lo lookup 169254 proto 169/m)
    assert.match(await answers(), /^10\.244\.1\.11 dev veth11 proto 169/m)
    assert.match(await answers(), /^fd00:244::11 dev veth11 proto 169/m)

    let changes = 0
    const counting: typeof exec = (command, args, options) => {
      if (args.includes('-batch')) changes++
      return exec(command, args, options)
    }
    assert.equal(await ensureReturnRoutes(counting, FULL, hidden), undefined)
    assert.equal(changes, 0)

    await node.must('node', ['ip', 'rule', 'del', 'priority', '8', 'from', '169.254.170.24'])
    await node.must('node', ['ip', 'route', 'del', '10.244.1.11', 'table', '169254'])
    assert.equal(await ensureReturnRoutes(exec, FULL, hidden), undefined)
    assert.deepEqual((await rules()).split('\n').sort(), made.split('\n').sort())
    assert.match(await answers(), /^10\.244\.1\.11 dev veth11 proto 169/m)

    const moved = hidden.map(({ destination }) => ({ destination, device: 'veth12' }))
    assert.equal(await ensureReturnRoutes(exec, FULL, moved), undefined)
    assert.doesNotMatch(await answers(), /veth11/)
    assert.equal(await removeReturnRoutes(exec), undefined)
    assert.equal(await rules(), before)
    assert.equal(await answers(), '')
  })

  test('a rule of the operator with the same priority is kept', async () => {
    await node.must('node', ['ip', 'rule', 'add', 'priority', '8', 'from', '192.0.2.1', 'lookup', '169254'])
    const before = await rules()
    assert.equal(await removeReturnRoutes(nodeExec(node)), undefined)
    assert.equal(await rules(), before)
    await node.must('node', ['ip', 'rule', 'del', 'priority', '8', 'from', '192.0.2.1'])
  })

  test('a failure of ip is reported in one sentence', async () => {
    const failed = await ensureReturnRoutes(nodeExec(node), FULL, [
      { destination: '10.1.1.1', device: 'gone' },
    ])
    assert.match(
      failed ?? '',
      /^pods behind policy routing may not reach the broker \(IPv4\): ip failed: Cannot find device/,
    )
    await removeReturnRoutes(nodeExec(node))
  })

  test('the guard follows pods that start and end, and new interfaces that lead outside', async () => {
    const guard = await startGuard(node, ['--poll-interval=5m'])
    try {
      await guard.becomes('ready')
      const uplinks = () => node.must('node', ['nft', 'list', 'chain', 'inet', 'pod2iam_guard', 'input'])
      assert.match(await uplinks(), /"vlan\.eth\.\*"/)
      for (const family of [
        { address: '10.244.1.99', flags: [] },
        { address: 'fd00:244::99', flags: ['-6'] },
      ]) {
        const route = (verb: string) =>
          node.must('node', [
            'ip',
            ...family.flags,
            'route',
            verb,
            family.address,
            'dev',
            'veth12',
            'table',
            '199',
          ])
        await route('add')
        await until('there is a route to the new pod', async () =>
          (await answers()).includes(`${family.address} dev veth12`),
        )
        await route('del')
        await until(
          'the route to the pod is removed',
          async () => !(await answers()).includes(family.address),
        )
      }
      await node.must('node', [
        'ip',
        'link',
        'add',
        'tunnel9',
        'type',
        'vxlan',
        'id',
        '9',
        'dstport',
        '4799',
        'dev',
        'eth0',
      ])
      await until('the tunnel is an uplink', async () => (await uplinks()).includes('"tunnel9"'))
      await node.must('node', ['ip', 'rule', 'del', 'priority', '8', 'from', '169.254.170.24'])
      await until('the rule is there again', async () => /from 169\.254\.170\.24 iif lo/.test(await rules()))
    } finally {
      await guard.end('SIGKILL')
    }
  })
})
