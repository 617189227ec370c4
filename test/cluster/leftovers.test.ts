/** What an uninstall may have left on a node, as opposed to what only mentions pod2iam. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { leftOf } from './promises/uninstall.ts'

const NONE = { tables: 'table ip nat\n', links: '1: lo: <LOOPBACK>\n2: eth0@if2: <UP>\n', chains: '*nat\n' }

test('rules of kube-proxy that name our Service in a comment are not ours', () => {
  const chains = `*nat
:KUBE-SVC-35LY3WCZSD25734S - [0:0]
-A KUBE-SERVICES -d 10.96.27.46/32 -p tcp -m comment --comment "pod2iam-system/pod2iam-injector:webhook cluster IP" -m tcp --dport 443 -j KUBE-SVC-35LY3WCZSD25734S
-A KUBE-SVC-35LY3WCZSD25734S -m comment --comment "pod2iam-system/pod2iam-injector:webhook -> 10.244.0.231:8443" -j KUBE-SEP-NBDYX2JFWE2HJQAW
COMMIT
`
  assert.deepEqual(leftOf({ ...NONE, chains }), [])
})

test('tables, chains, jumps and the link of the firewall are ours', () => {
  const tables = `${NONE.tables}table inet pod2iam_guard\n`
  const chains = ':POD2IAM-FORWARD - [0:0]\n-A FORWARD -j POD2IAM-FORWARD\n-A FORWARD -j ACCEPT\n'
  const links = `${NONE.links}5: pod2iam0: <BROADCAST>\n`
  assert.deepEqual(leftOf({ tables, chains, links }), [
    'table inet pod2iam_guard',
    ':POD2IAM-FORWARD - [0:0]',
    '-A FORWARD -j POD2IAM-FORWARD',
    'link pod2iam0',
  ])
})

test('the link of the test’s stand-in for AWS is not ours', () => {
  const links = `${NONE.links}7: pod2iam-aws0@if2: <UP>\n`
  assert.deepEqual(leftOf({ ...NONE, links }), [])
})
