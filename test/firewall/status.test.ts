/** What `firewall status`, health and metrics show, without a kernel. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { buildInfoText } from '../../common/build-info.ts'
import { NO_PACKETS } from '../../node-guard/firewall/backend/counts.ts'
import { NO_REPAIRS } from '../../node-guard/firewall/block/block.ts'
import { readNatRules, redirectsOf } from '../../node-guard/firewall/iptables/nat-rules.ts'
import { CILIUM_MASQUERADE, hasNetkit, whyBypassed } from '../../node-guard/firewall/node/dataplane.ts'
import { findLeftovers } from '../../node-guard/firewall/node/leftovers.ts'
import {
  createSurroundings,
  imdsWarnings,
  type SurroundingsOptions,
  type SurroundingsState,
} from '../../node-guard/firewall/node/surroundings.ts'
import type { Exec } from '../../node-guard/firewall/process/exec.ts'
import { metricsText } from '../../node-guard/firewall/report/metrics.ts'
import {
  firewallStateOf,
  type GuardReport,
  readinessOf,
  statusOf,
} from '../../node-guard/firewall/report/report.ts'
import { currentStatus, readStatus, writeStatus } from '../../node-guard/firewall/status/file.ts'
import type { Status } from '../../node-guard/firewall/status/status.ts'
import { statusText } from '../../node-guard/firewall/status/text.ts'
import { captureLog } from '../support/log.ts'

const NOW = Date.parse('2026-01-01T12:00:00Z')
const METADATA = ['169.254.169.254', 'fd00:ec2::254']
const WELL: SurroundingsState = { looked: true, bypass: undefined, leftovers: [], warnings: [] }

const report = (changed: Partial<GuardReport> = {}): GuardReport => ({
  mode: 'enforce',
  block: {
    verified: true,
    checkedAt: NOW,
    detail: undefined,
    backend: 'nft',
    fallback: undefined,
    othersLeft: undefined,
    packets: { ...NO_PACKETS, metadata_refused: 7, metadata_dropped: 1 },
    repairs: { ...NO_REPAIRS, event: 2, poll: 1 },
  },
  owned: undefined,
  link: { up: true, changed: false },
  surroundings: WELL,
  sightings: undefined,
  stateFault: undefined,
  pollIntervalMs: 10_000,
  ...changed,
})

test('the status of a healthy node has all its fields', () => {
  assert.deepEqual<Status>(statusOf(report()), {
    backend: 'nft',
    mode: 'enforce',
    verified: true,
    verifiedAt: '2026-01-01T12:00:00.000Z',
    ownedTable: false,
    refusedPackets: 8,
    repairs: 3,
    brokerLink: 'up',
    leftovers: [],
    leftoversAt: null,
    warnings: [],
    audit: [],
    hostNetwork: null,
  })
})

test('packets that the owned table refuses are added to those of the plain table', () => {
  const owned = { held: true, detail: undefined, packets: { ...NO_PACKETS, metadata_refused: 5 } }
  assert.equal(statusOf(report({ owned })).refusedPackets, 13)
  assert.match(metricsText(report({ owned }), NOW), /packets_total\{rule="metadata_refused"\} 12\n/)
})

test('a guard that does not hold a requested owned table is not ready, but the node is guarded', () => {
  const owned = { held: false, detail: 'it cannot be held', packets: NO_PACKETS }
  assert.equal(readinessOf(report({ owned }), NOW).code, 'owned-table-missing')
  assert.equal(firewallStateOf(report({ owned })).verified, true)
  assert.deepEqual(statusOf(report({ owned })).warnings, [
    { code: 'owned-table', detail: 'it cannot be held' },
  ])
})

test('nothing is verified before the dataplane is known, or if it bypasses the rules', () => {
  for (const surroundings of [
    { ...WELL, looked: false },
    { ...WELL, bypass: 'pods bypass it' },
  ]) {
    const now = report({ surroundings })
    assert.equal(readinessOf(now, NOW).ready, false)
    assert.equal(firewallStateOf(now).verified, false)
    assert.ok(firewallStateOf(now).detail)
    assert.equal(statusOf(now).verified, false)
    assert.match(metricsText(now, NOW), /block_verified 0\n/)
  }
})

test('each mode has its own code for ready', () => {
  assert.deepEqual(
    (['enforce', 'audit', 'remove'] as const).map((mode) => readinessOf(report({ mode }), NOW).code),
    ['ready', 'auditing', 'removed'],
  )
})

test('metrics are in the format of Prometheus, and no label has text from outside', () => {
  const leftovers = [{ kind: 'k', rule: 'evil"}\n', remove: 'r' }]
  const list = () => [
    { address: '10.9.9.9', via: 'direct' as const, packets: 1, firstSeen: '', lastSeen: '' },
  ]
  const sightings = {
    list,
    packets: () => ({ direct: 3, dnat: 4 }),
    full: () => false,
    take: () => {},
    restart: () => {},
  }
  const text = metricsText(
    report({ mode: 'audit', surroundings: { ...WELL, leftovers }, sightings }),
    NOW + 5000,
  )
  const build = buildInfoText('firewall')
  assert.ok(text.startsWith(build))
  for (const line of text.slice(build.length).trimEnd().split('\n'))
    assert.match(
      line,
      /^# (HELP|TYPE) pod2iam_firewall_\w+ .+$|^pod2iam_firewall_\w+(\{(\w+="[\w-]+",?)+\})? \d+$/,
    )
  assert.doesNotMatch(text, /10\.9\.9\.9|evil/)
  assert.match(text, /^pod2iam_firewall_verification_age_seconds 5$/m)
  assert.match(text, /^pod2iam_firewall_audit_packets_total\{via="dnat"\} 4$/m)
  assert.match(text, /^pod2iam_firewall_audit_addresses\{via="direct"\} 1$/m)
  assert.match(text, /^pod2iam_firewall_leftover_rules 1$/m)
})

test('a guard that does not report any more has verified nothing, and status shows since when', () => {
  const written = {
    version: 1 as const,
    writtenAt: '2026-01-01T12:00:00.000Z',
    validSeconds: 30,
    status: statusOf(report()),
  }
  assert.equal(currentStatus(written, NOW + 30_000), written.status)
  for (const later of [31_000, 86_400_000, -6000]) {
    const status = currentStatus(written, NOW + later)
    assert.equal(status.verified, false)
    assert.equal(status.warnings[0]?.code, 'guard-silent')
    assert.match(
      status.warnings[0]?.detail ?? '',
      /last reported at 2026-01-01T12:00:00\.000Z; its rules stay/,
    )
  }
  assert.match(
    statusText(currentStatus(written, NOW + 7_300_000), NOW + 7_300_000),
    /block verified +NO \(2h ago, /,
  )
})

test('a written status is read back unchanged', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'status-'))
  try {
    const written = {
      version: 1 as const,
      writtenAt: new Date(NOW).toISOString(),
      validSeconds: 30,
      status: statusOf(report()),
    }
    await writeStatus(directory, written)
    assert.deepEqual(await readStatus(directory), { ok: true, written })
  } finally {
    await rm(directory, { recursive: true })
  }
})

test('the text for people has warnings, leftovers with the command, and sightings', () => {
  const status: Status = {
    ...statusOf(report({ mode: 'audit' })),
    warnings: [{ code: 'imds-v1', detail: 'a sentence' }],
    leftovers: [{ kind: 'kiam', rule: 'a rule', remove: 'a command' }],
    audit: [
      {
        ...{ address: '10.244.1.11', via: 'direct', packets: 12 },
        ...{ firstSeen: '2026-01-01T09:00:00.000Z', lastSeen: '2026-01-01T11:59:00.000Z' },
      },
    ],
  }
  const text = statusText(status, NOW)
  assert.match(text, /^warning +imds-v1: a sentence\nleftover +kiam: a rule\n +remove it: a command\n/m)
  assert.match(text, /^seen +10\.244\.1\.11 +direct +12 packets, first 3h ago, last 60s ago$/m)
})

const nat = (rule: string, command = 'iptables-nft') => ({ command, rule })
const LEFT_BEHIND: Record<string, [rule: string, kind: string | undefined, remove?: string]> = {
  'a rule of kube2iam': [
    '-A PREROUTING -d 169.254.169.254/32 -i cali+ -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.10:8181',
    'kube2iam-or-kiam',
    'iptables-nft -t nat -D PREROUTING -d 169.254.169.254/32 -i cali+ -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.10:8181',
  ],
  'a rule of kiam with an excluded interface': [
    '-A PREROUTING -d 169.254.169.254/32 ! -i eth0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.10:8181',
    'kiam',
    'iptables-nft -t nat -D PREROUTING -d 169.254.169.254/32 ! -i eth0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.10:8181',
  ],
  'the redirect in kube2iam’s own tests': [
    '-A PREROUTING -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8181',
    'kube2iam-or-kiam',
  ],
  'a rule in another chain': [
    '-A AGENT -d fd00:ec2::254/128 -p tcp -j DNAT --to-destination [fd00::1]:80',
    'metadata-dnat',
  ],
  'a rule with a malicious comment': [
    '-A PREROUTING -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment "a \'$(reboot)\' \\"b\\"" -j DNAT --to-destination 1.2.3.4:1',
    'kube2iam-or-kiam',
    `iptables-nft -t nat -D PREROUTING -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -m comment --comment 'a '\\''$(reboot)'\\'' "b"' -j DNAT --to-destination 1.2.3.4:1`,
  ],
  'a rule for a neighbour of the address': [
    '-A PREROUTING -d 169.254.169.253/32 -p udp -j DNAT --to-destination 1.2.3.4',
    undefined,
  ],
  'a rule that only mentions the address': [
    '-A PREROUTING -d 10.0.0.1/32 -p tcp -j DNAT --to-destination 169.254.169.254',
    undefined,
  ],
  'a rule that only returns': ['-A PREROUTING -d 169.254.169.254/32 -j RETURN', undefined],
}
for (const [what, [rule, kind, remove]] of Object.entries(LEFT_BEHIND))
  test(`${what} is ${kind === undefined ? 'not a leftover' : `a leftover of the kind ${kind}`}`, () => {
    const [found] = findLeftovers([nat(rule)], METADATA)
    assert.equal(found?.kind, kind)
    if (remove !== undefined) assert.equal(found?.remove, remove)
  })

test('no rule makes the reader throw', () => {
  fc.assert(
    fc.property(fc.array(fc.string()), (words) => {
      findLeftovers([nat(`-A PREROUTING -d 169.254.169.254/32 ${words.join(' ')} -j DNAT`)], METADATA)
    }),
  )
})

test('tables that cannot be read are reported with the remedy, and missing tables of iptables-legacy are not requested', async () => {
  const asked: string[] = []
  const exec: Exec = async (_bounds, [, , command = '']) => {
    asked.push(command)
    if (command === 'iptables-nft') return { code: 'missing', stdout: '', stderr: 'spawn ENOENT' }
    if (command === 'ip6tables-nft')
      return {
        code: 1,
        stdout: '',
        stderr: 'ip6tables-nft: Failed to initialize nft: Protocol not supported',
      }
    return { code: 1, stdout: '', stderr: 'Cannot initialize: Permission denied (you must be root)' }
  }
  const { unread } = await readNatRules(exec, redirectsOf(METADATA), {
    read: async (file) => (file === '/proc/net/ip_tables_names' ? 'filter\nnat\n' : ''),
  })
  assert.deepEqual(asked, ['iptables-nft', 'ip6tables-nft', 'iptables-legacy-save'])
  assert.equal(unread.length, 2)
  assert.match(unread[0] ?? '', /iptables-nft could not be read \(spawn ENOENT\): use the pod2iam image/)
  assert.match(unread[1] ?? '', /NET_RAW/)
})

test('many rules with one text do not hide a rule with another', async () => {
  const many = Array.from(
    { length: 101 },
    (_, port) => `-A CNI-DN-1 -d 169.254.169.254/32 -p tcp -m tcp --dport ${port} -j DNAT`,
  )
  const stdout = [...many, MASQUERADE.rule].join('\n')
  const exec: Exec = async (_bounds, [, , command = '']) => ({
    code: 0,
    stdout: command === 'iptables-nft' ? stdout : '',
    stderr: '',
  })
  const question = { texts: [...METADATA, CILIUM_MASQUERADE], chains: ['PREROUTING'], follow: false }
  const { rules } = await readNatRules(exec, question, { read: async () => '' })
  assert.equal(rules.length, 101)
  assert.ok(rules.some(({ rule }) => rule === MASQUERADE.rule))
  assert.equal(whyBypassed({ interfaces: ['cilium_host'], netkit: false, natRules: rules }), undefined)
})

const MASQUERADE = nat(
  `-A CILIUM_POST_nat -s 10.0.0.0/24 ! -o cilium_+ -m comment --comment "${CILIUM_MASQUERADE}" -j MASQUERADE`,
)
const DATAPLANES: Record<string, [Parameters<typeof whyBypassed>[0], RegExp | undefined]> = {
  'an ordinary node': [{ interfaces: ['lo', 'eth0', 'cni0'], netkit: false, natRules: [] }, undefined],
  'Cilium which masquerades by iptables': [
    { interfaces: ['cilium_host', 'lxc1'], netkit: false, natRules: [MASQUERADE] },
    undefined,
  ],
  'Cilium which does not masquerade by iptables': [
    { interfaces: ['cilium_host'], netkit: false, natRules: [] },
    /--dataplane=netfilter/,
  ],
  'Cilium with netkit': [{ interfaces: ['cilium_host'], netkit: true, natRules: [MASQUERADE] }, /netkit/],
  'Calico with eBPF': [{ interfaces: ['bpfin.cali', 'bpfout.cali'], netkit: false, natRules: [] }, /Calico/],
  'Calico without eBPF': [{ interfaces: ['cali123', 'tunl0'], netkit: false, natRules: [] }, undefined],
}
for (const [what, [facts, sentence]] of Object.entries(DATAPLANES))
  test(`the dataplane of ${what} ${sentence === undefined ? 'uses netfilter' : 'may bypass netfilter'}`, () => {
    if (sentence === undefined) assert.equal(whyBypassed(facts), undefined)
    else assert.match(`${whyBypassed(facts)?.why}: ${whyBypassed(facts)?.remedy}`, sentence)
  })

test('netkit devices are recognised by their kind, not by their name', async () => {
  const lines = [
    '3: netkit@if2: <UP> mtu 1500 \\    link/ether 0a:00 brd ff:ff \\    veth addrgenmode eui64',
    '4: lxc1@if2: <UP> mtu 1500 \\    link/netrom \\    netkit mode l3 type primary',
  ]
  const exec =
    (line: string): Exec =>
    async (_command, _args, options) => ({
      code: 0,
      stdout: options?.keepLine?.(line) ? `${line}\n` : '',
      stderr: '',
    })
  assert.deepEqual(await Promise.all(lines.map((line) => hasNetkit(exec(line)))), [false, true])
})

test('the options of the metadata service cause a warning unless tokens are required and the hop limit is one', () => {
  const codes = (version1: boolean, hopLimit: number | undefined) =>
    imdsWarnings({ version1, hopLimit }).map(({ code }) => code)
  assert.deepEqual(codes(false, 1), [])
  assert.deepEqual(codes(true, 1), ['imds-v1'])
  assert.deepEqual(codes(false, 2), ['imds-hop-limit'])
  assert.deepEqual(codes(true, undefined), ['imds-v1', 'imds-not-checked'])
})

function surroundingsWith(changed: Partial<SurroundingsOptions>) {
  const { log, lines } = captureLog()
  const surroundings = createSurroundings({
    metadata: METADATA,
    dataplane: 'auto',
    readInterfaces: async () => ['eth0'],
    hasNetkit: async () => false,
    bootRules: async () => undefined,
    readNatRules: async () => ({ rules: [], unread: [] }),
    readImdsOptions: async () => ({ version1: false, hopLimit: 1 }),
    now: () => NOW,
    log,
    ...changed,
  })
  return { surroundings, logs: () => lines.map(({ msg }) => msg) }
}

test('a dataplane that is installed later is noticed at the next check, long before the tables are searched again', async () => {
  let interfaces = ['eth0']
  const asked: string[] = []
  const { surroundings, logs } = surroundingsWith({
    readInterfaces: async () => interfaces,
    readNatRules: async ({ chains }) => {
      asked.push(chains.join(' '))
      return { rules: [], unread: [] }
    },
  })
  assert.equal(surroundings.state().looked, false)
  await surroundings.lookAtDataplane()
  await surroundings.lookAtDataplane()
  assert.deepEqual([surroundings.state().looked, surroundings.state().bypass], [true, undefined])
  assert.deepEqual(
    [await surroundings.searchLeftovers(), await surroundings.searchLeftovers()],
    [true, false],
  )
  interfaces = ['eth0', 'cilium_host']
  await surroundings.lookAtDataplane()
  await surroundings.lookAtDataplane()
  assert.match(surroundings.state().bypass ?? '', /Cilium/)
  assert.equal(await surroundings.searchLeftovers(), false)
  assert.deepEqual(asked, ['PREROUTING OUTPUT', 'CILIUM_POST_nat OLD_CILIUM_POST_nat'])
  assert.deepEqual(logs(), ['the block may have no effect on this node'])
})

test('the check of the dataplane, and so readiness, does not wait for the search for leftovers', async () => {
  const { surroundings } = surroundingsWith({ readNatRules: () => new Promise(() => {}) })
  void surroundings.searchLeftovers()
  await surroundings.lookAtDataplane()
  const now = report({ surroundings: surroundings.state() })
  assert.equal(readinessOf(now, NOW).code, 'ready')
})

test('--dataplane=netfilter overrides the check of the dataplane, whose result is still reported', async () => {
  const { surroundings, logs } = surroundingsWith({
    dataplane: 'netfilter',
    readInterfaces: async () => ['cilium_host'],
  })
  await surroundings.lookAtDataplane()
  const state = surroundings.state()
  assert.equal(state.bypass, undefined)
  const now = report({ surroundings: state })
  assert.equal(readinessOf(now, NOW).code, 'ready')
  assert.equal(statusOf(now).verified, true)
  const [warning] = statusOf(now).warnings
  assert.equal(warning?.code, 'dataplane-bypass')
  assert.match(
    warning?.detail ?? '',
    /^Cilium runs here .+; the block counts as verified only because of --dataplane=netfilter\. .+policy/,
  )
  assert.match(metricsText(now, NOW), /warning\{code="dataplane-bypass"\} 1\n/)
  assert.match(metricsText(now, NOW), /block_verified 1\n/)
  await surroundings.lookAtDataplane()
  assert.deepEqual(logs(), ['the block counts as verified because of --dataplane=netfilter'])
})

test('a metadata service that is switched off, or answers on one address only, causes no warning', async () => {
  for (const readImdsOptions of [
    async () => undefined,
    async (address: string) => {
      if (address.includes('.')) throw new Error('connect ECONNREFUSED')
      return { version1: false, hopLimit: 1 }
    },
  ]) {
    const { surroundings } = surroundingsWith({ readImdsOptions })
    await surroundings.askImds()
    assert.deepEqual(surroundings.state().warnings, [])
  }
})

test('a metadata service that does not answer is asked again soon, and reported once', async () => {
  let now = NOW
  let asked = 0
  const { surroundings, logs } = surroundingsWith({
    now: () => now,
    metadata: ['169.254.169.254'],
    readImdsOptions: async () => {
      asked++
      throw new Error('it did not answer within 2000 ms')
    },
  })
  await surroundings.askImds()
  await surroundings.askImds()
  assert.equal(asked, 1)
  now += 30_000
  await surroundings.askImds()
  assert.equal(asked, 2)
  assert.deepEqual(
    surroundings.state().warnings.map(({ code }) => code),
    ['imds-not-checked'],
  )
  // Outside EC2 this is always the case, and the warning says that it is no fault there.
  assert.match(
    surroundings.state().warnings[0]?.detail ?? '',
    /a node without a metadata service, such as one outside EC2, has nothing for this guard to refuse$/,
  )
  assert.equal(logs().length, 1)
})
