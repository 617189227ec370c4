/** Which rules are leftovers of kube2iam or kiam, and which belong to running programs, above all pod2iam. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createCanaries } from '../../node-guard/firewall/iptables/canaries.ts'
import { restoreInput } from '../../node-guard/firewall/iptables/chains.ts'
import { parseSaved } from '../../node-guard/firewall/iptables/saved.ts'
import { findLeftovers } from '../../node-guard/firewall/node/leftovers.ts'
import { iptablesRules } from '../../node-guard/firewall/rules/guard-iptables.ts'
import { redirectChain } from '../../node-guard/firewall/rules/pod-iptables.ts'

const METADATA = ['169.254.169.254', 'fd00:ec2::254', '100.100.100.200']
const found = (rule: string, command = 'iptables-nft') => findLeftovers([{ command, rule }], METADATA)

test('no rule of ours is a leftover: chains of the guard and the gate, jumps and canaries in both families', () => {
  const broker = ['169.254.170.24', 'fd00:70d2:1a::24']
  const lines = ([4, 6] as const).flatMap((family) => {
    const guard = iptablesRules({ metadata: METADATA, broker, uplinks: ['eth0'] }, family)
    const gate = (['proof', 'redirect'] as const).map((purpose) =>
      redirectChain({ metadata: METADATA, broker, brokerPort: 9171, sidecarPort: 9169 }, purpose, family),
    )
    const chains = [...createCanaries(() => true).add(guard, family), ...gate]
    return restoreInput(chains, parseSaved('', 'POD2IAM-'))
      .split('\n')
      .filter((line) => /^-[AI] /.test(line))
      .map((line) => line.replace(/^-I (\S+) 1 /, '-A $1 '))
  })
  for (const what of [
    /-A POD2IAM-PIN -d fd00:ec2::254/,
    /-A POD2IAM-PIN-OUTPUT /,
    /POD2IAM-REDIRECT .+REDIRECT/,
  ])
    assert.ok(
      lines.some((line) => what.test(line)),
      `${what} is among what is tried`,
    )
  for (const command of ['iptables-nft', 'ip6tables-nft', 'iptables-legacy', 'ip6tables-legacy'])
    for (const line of lines) assert.deepEqual(found(line, command), [], line)
})

const TO = '-d 169.254.169.254/32'
const OTHERS: Record<string, string> = {
  'a DNAT to the same address': `-A PREROUTING ${TO} -j DNAT --to-destination 169.254.169.254`,
  'a DNAT to the same address and port': `-A PREROUTING ${TO} -p tcp -m tcp --dport 80 -j DNAT --to-destination 169.254.169.254:80`,
  'a DNAT to the same address and port by IPv6':
    '-A PREROUTING -d fd00:ec2::254/128 -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00:ec2::254]:80',
  'a rule with our comment': `-A OUTPUT ${TO} -p tcp -m comment --comment "POD2IAM-BOOT: until the guard runs" -j REDIRECT --to-ports 1`,
  'a Service of kube-proxy by its externalIPs':
    '-A KUBE-SERVICES -d fd00:ec2::254/128 -p tcp -m comment --comment "default/x external IP" -m tcp --dport 80 -j KUBE-EXT-X',
  'an endpoint of kube-proxy':
    '-A KUBE-SEP-X -p tcp -m comment --comment "169.254.169.254/x" -m tcp -j DNAT --to-destination 10.244.1.7:80',
  'a hostPort with that hostIP': `-A CNI-DN-0123456789abcdef01234 ${TO} -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.1.7:80`,
  'a hostPort of Cilium': `-A CILIUM_PRE_nat ${TO} -p tcp -j REDIRECT --to-ports 4000`,
  'a rule of Calico': `-A cali-fip-dnat ${TO} -j DNAT --to-destination 10.244.1.7`,
  'a rule of Istio': `-A ISTIO_OUTPUT ${TO} -p tcp -j REDIRECT --to-ports 15001`,
  'a rule of Istio for all addresses but that one': `-A OUTPUT ! ${TO} -p tcp -j REDIRECT --to-ports 15001`,
  'a rule of Linkerd': `-A PROXY_INIT_OUTPUT ${TO} -p tcp -j REDIRECT --to-ports 4140`,
  'a rule of NodeLocal DNSCache':
    '-A PREROUTING -d 169.254.20.10/32 -p udp -m udp --dport 53 -m comment --comment "NodeLocal DNS Cache: not 169.254.169.254" -j DNAT --to-destination 10.96.0.10',
  'a rule of Docker': `-A DOCKER ${TO} -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80`,
  'a rule with a comment like an option':
    '-A PREROUTING -d 10.96.0.1/32 -m comment --comment -d -m tcp -p tcp -j DNAT --to-destination 10.0.0.1',
  'a rule with a comment like a rule': `-A PREROUTING -m comment --comment "-A PREROUTING ${TO}" -j DNAT --to-destination 10.0.0.1`,
  'a rule with a comment like a target': `-A PREROUTING ${TO} -m comment --comment -j -m comment --comment DNAT -j ACCEPT`,
  'a line that is not a rule': `:PREROUTING ${TO} -j DNAT`,
  'an option without its argument': '-A PREROUTING -j DNAT -d',
}
for (const [what, rule] of Object.entries(OTHERS))
  test(`${what} is not a leftover`, () => assert.deepEqual(found(rule), []))

const LEFT: Record<string, [rule: string, kind: string]> = {
  'a DNAT to the same address at another port': [
    `-A PREROUTING ${TO} -p tcp -m tcp --dport 80 -j DNAT --to-destination 169.254.169.254:8181`,
    'kube2iam-or-kiam',
  ],
  'a rule whose comment only mentions pod2iam': [
    `-A PREROUTING ${TO} -p tcp -m tcp --dport 80 -m comment --comment "kube2iam, until pod2iam has POD2IAM-PIN" -j DNAT --to-destination 10.0.0.10:8181`,
    'kube2iam-or-kiam',
  ],
  'a rule with a comment like kiam’s exception': [
    `-A PREROUTING ${TO} -i eni+ -p tcp -m tcp --dport 80 -m comment --comment ! -i eth0 -j DNAT --to-destination 10.0.0.10:8181`,
    'kube2iam-or-kiam',
  ],
  'a rule with a comment like a negation': [
    `-A PREROUTING -m comment --comment ! ${TO} -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.10:8181`,
    'kube2iam-or-kiam',
  ],
  'a rule for all ports but that of the service': [
    `-A PREROUTING ${TO} -p tcp -m tcp ! --dport 80 -j DNAT --to-destination 10.0.0.10:8181`,
    'metadata-dnat',
  ],
  'a rule for packets of the node itself': [
    `-A OUTPUT ${TO} -p tcp -j DNAT --to-destination 127.0.0.1:8181`,
    'metadata-dnat',
  ],
}
for (const [what, [rule, kind]] of Object.entries(LEFT))
  test(`${what} is a leftover`, () => assert.equal(found(rule)[0]?.kind, kind))
