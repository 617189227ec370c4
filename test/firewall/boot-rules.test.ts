/** `firewall boot-rules`: what it prints shuts a node before its kubelet, and the guard takes over without a gap. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { BROKER_LINK } from '../../common/addresses.ts'
import { bootRules } from '../../node-guard/firewall/boot/rules.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { findTool } from '../sandbox/node/tools.ts'
import { type GuardProcess, startGuard } from './guard-process.ts'
import { MAIN, NEIGHBOURS, openNode, type TestNode, until } from './node.ts'

const UNIT = 'pod2iam-boot.service'
const printed = (...argv: string[]) =>
  execFileSync(process.execPath, [MAIN, 'boot-rules', ...argv], { encoding: 'utf8' })

describe('firewall boot-rules', needsNamespaces(), () => {
  let node: TestNode
  let guard: GuardProcess | undefined
  before(async () => {
    node = await openNode()
    const aws = await node.agent('aws')
    for (const host of ['0.0.0.0', '::']) await aws.listen({ host, port: 80, name: 'aws' })
  })
  after(() => node?.close())
  afterEach(async () => {
    await guard?.end('SIGKILL')
    guard = undefined
    await node.run('node', ['nft', 'flush', 'ruleset'])
    await node.run('node', ['ip', 'link', 'delete', BROKER_LINK])
  })

  const from = async (network: 'pod1' | 'node', host: string) =>
    (await (await node.agent(network)).tcp({ host, port: 80 })).outcome
  const load = (rules: string) => node.must('node', ['nft', '-f', '-'], rules)
  const start = async (...flags: string[]) => {
    guard = await startGuard(node, flags)
    return guard
  }
  /** The warning of `status` about rules of boot, once the guard has looked: together with leftovers. */
  const warning = async (): Promise<string | undefined> => {
    let found: { leftoversAt: string | null; warnings: { code: string; detail: string }[] } | undefined
    await until('the guard has looked', async () => {
      const { stdout } = await node.run('node', [process.execPath, MAIN, 'status', '--json'])
      found = JSON.parse(stdout)
      return typeof found?.leftoversAt === 'string'
    })
    return found?.warnings.find(({ code }) => code === 'boot-rules')?.detail
  }

  test('refuses pods, and nobody else, with nothing of pod2iam running; again and again', async () => {
    assert.equal(await from('pod1', '169.254.169.254'), 'aws', 'open before')
    for (let boot = 0; boot < 2; boot++) {
      await load(printed('--print=rules'))
      for (const host of ['169.254.169.254', 'fd00:ec2::254']) {
        assert.equal(await from('pod1', host), 'ECONNREFUSED')
        assert.equal(await from('node', host), 'aws')
      }
      for (const host of NEIGHBOURS) assert.equal(await from('pod1', host), 'aws', host)
    }
  })

  test('no request of a pod gets through while the guard takes over, and none when it ends', async () => {
    await load(printed('--print=rules'))
    const pod = await node.agent('pod1')
    await pod.hammer({ host: '169.254.169.254', port: 80 })
    const taking = await start()
    await taking.becomes('ready')
    await taking.end('SIGTERM')
    await (await start()).becomes('ready')
    const { tried, gaps } = await pod.rest({})
    assert.ok(tried > 0)
    assert.deepEqual(gaps, [])
    assert.equal(await warning(), undefined)
  })

  test('a guard with iptables’ rules takes over without a gap, too', async () => {
    await load(printed('--print=rules'))
    const pod = await node.agent('pod1')
    await pod.hammer({ host: '169.254.169.254', port: 80 })
    await (await start('--backend=iptables')).becomes('ready')
    const { tried, gaps } = await pod.rest({})
    assert.ok(tried > 0)
    assert.deepEqual(gaps, [])
    assert.equal((await node.run('node', ['nft', 'list', 'table', 'inet', 'pod2iam_guard'])).code, 1)
    assert.equal(await from('pod1', '169.254.169.254'), 'ECONNREFUSED')
    assert.equal(await warning(), undefined)
  })

  test('the guard warns where the node loads others than it would print', async () => {
    await load(printed('--print=rules', '--metadata-address=169.254.169.254'))
    await (await start()).becomes('ready')
    const told = (await warning()) ?? ''
    assert.match(told, /another release or other settings.*boot-rules/)
    assert.ok(guard?.logs.some(({ level, detail }) => level === 'warn' && detail === told))
  })

  test('a guard that only counts warns that the node refuses until it runs', async () => {
    await load(printed('--print=rules'))
    await (await start('--mode=audit')).becomes('auditing')
    assert.match((await warning()) ?? '', new RegExp(`systemctl disable ${UNIT}`))
    assert.equal(await from('pod1', '169.254.169.254'), 'aws')
  })

  test('whoever takes the rules away is told of the unit that brings them back', async () => {
    const remove = [process.execPath, MAIN, 'remove', '--open-this-node']
    assert.doesNotMatch(await node.must('node', remove), /systemctl/)
    await load(printed('--print=rules'))
    assert.match(await node.must('node', remove), new RegExp(`systemctl disable ${UNIT}`))
    assert.equal(await from('pod1', '169.254.169.254'), 'aws')
    const removing = await start('--mode=remove')
    await removing.becomes('removed')
    assert.ok(removing.logs.some(({ msg }) => msg === 'rules of boot left'))
  })

  test('the script for user data writes both files and loads the rules, as often as it is run', async () => {
    // systemd is not here: what it would run is read from the unit that the script wrote.
    const systemctl = `#!/bin/sh
echo "systemctl $*"
test "$1" != reload-or-restart || $(sed -n 's/^ExecStart=//p' "/etc/systemd/system/$2")
`
    const directory = mkdtempSync(join(tmpdir(), 'pod2iam-boot-'))
    try {
      writeFileSync(join(directory, 'systemctl'), systemctl, { mode: 0o755 })
      writeFileSync(join(directory, 'user-data'), printed())
      const run = `mount -t tmpfs none /etc && mkdir -p /etc/systemd/system && export PATH=${directory}:$PATH && sh ${directory}/user-data && sh ${directory}/user-data`
      const told = await node.must('node', ['unshare', '--mount', 'sh', '-e', '-c', run])
      const once = `systemctl daemon-reload\nsystemctl enable ${UNIT}\nsystemctl reload-or-restart ${UNIT}\n`
      assert.equal(told, once + once)
      assert.equal(await from('pod1', '169.254.169.254'), 'ECONNREFUSED')
      assert.deepEqual(await markers(), [bootRules(BY_DEFAULT).marker])
      const without = `mount -t tmpfs none /etc && mkdir -p /etc/systemd/system && mount --bind /dev/null /usr/sbin/nft && export PATH=${directory}:$PATH && sh ${directory}/user-data; code=$?; test -s /etc/systemd/system/${UNIT} && exit $code`
      const failed = await node.run('node', ['unshare', '--mount', 'sh', '-c', without])
      assert.equal(failed.code, 1)
      assert.match(failed.stderr, /gets no kubelet; is the package nftables/)
      assert.match(failed.stdout, new RegExp(`enable ${UNIT}`), 'what shuts the kubelet out is there')
    } finally {
      rmSync(directory, { recursive: true })
    }
  })

  async function markers(): Promise<string[]> {
    const list = await node.must('node', ['nft', 'list', 'table', 'inet', 'pod2iam_boot'])
    return [...list.matchAll(/chain (\w+)/g)].map(([, name = '']) => name)
  }
})

const BY_DEFAULT = {
  metadata: ['169.254.169.254', 'fd00:ec2::254'],
  broker: ['169.254.170.24', 'fd00:70d2:1a::24'],
}

describe('what boot-rules prints', () => {
  test('names the rules by what is in them: other addresses are other rules', () => {
    assert.equal(bootRules(BY_DEFAULT).marker, bootRules({ ...BY_DEFAULT }).marker)
    const others = [
      { ...BY_DEFAULT, metadata: ['169.254.169.254'] },
      { ...BY_DEFAULT, broker: ['169.254.170.25'] },
    ]
    assert.equal(new Set([BY_DEFAULT, ...others].map((rules) => bootRules(rules).marker)).size, 3)
  })

  const analyze = findTool('systemd-analyze')
  const skip = analyze === undefined ? { skip: 'systemd-analyze not found; install systemd' } : {}
  test('is a unit that systemd takes, before network and kubelet and without a cycle', skip, () => {
    const directory = mkdtempSync(join(tmpdir(), 'pod2iam-unit-'))
    try {
      const file = join(directory, UNIT)
      writeFileSync(file, printed('--print=unit'))
      const said = execFileSync(analyze ?? '', ['verify', '--man=no', '--recursive-errors=no', file], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      assert.equal(said, '')
    } finally {
      rmSync(directory, { recursive: true })
    }
  })

  test('is refused with a sentence where it is asked for something else', () => {
    assert.throws(() => printed('--print=everything'), /user-data, rules, unit/)
  })
})
