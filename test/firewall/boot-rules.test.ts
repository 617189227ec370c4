/** `firewall boot-rules`: its rules block a node before the kubelet starts, and the guard takes over without a gap. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { BROKER_LINK } from '../../common/addresses.ts'
import { BOOT_BACKENDS, type BootBackend, bootMarkers } from '../../node-guard/firewall/boot/files.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { findTool } from '../sandbox/node/tools.ts'
import { until } from '../support/until.ts'
import { ADMIN_AND_RAW, type GuardProcess, NET_ADMIN_ONLY, startGuard } from './guard-process.ts'
import { MAIN, NEIGHBOURS, openNode, type TestNode } from './node.ts'

const UNIT = 'pod2iam-boot.service'
const known = new Map<string, string>()
/** The output with these settings, which is the same each time. */
const printed = (...argv: string[]) => {
  const command = [MAIN, 'boot-rules', ...argv]
  const text = known.get(argv.join(' ')) ?? execFileSync(process.execPath, command, { encoding: 'utf8' })
  known.set(argv.join(' '), text)
  return text
}
const FLUSH_LEGACY = `for ip in iptables ip6tables; do for table in filter mangle nat; do
  $ip-legacy -w -t $table -F; $ip-legacy -w -t $table -X; done; done`

/** The forms of the rules, those of iptables for each of its variants. */
const FORMS = ['nft', 'iptables-nft', 'iptables-legacy'] as const
type Form = (typeof FORMS)[number]
const BY_DEFAULT = {
  metadata: ['169.254.169.254', 'fd00:ec2::254'],
  broker: ['169.254.170.24', 'fd00:70d2:1a::24'],
}

for (const form of FORMS)
  describe(`firewall boot-rules by ${form}`, needsNamespaces(), () => {
    const backend: BootBackend = form === 'nft' ? 'nft' : 'iptables'
    /** The backend of a guard whose rules have this form, and the other backend. */
    const [same, other] = [backend, backend === 'nft' ? 'iptables' : 'nft'] as const
    let node: TestNode
    let guard: GuardProcess | undefined
    let directory: string
    before(async () => {
      node = await openNode()
      directory = mkdtempSync(join(tmpdir(), 'pod2iam-boot-'))
      chmodSync(directory, 0o755)
      useVariant(directory, form)
      const aws = await node.agent('aws')
      for (const host of ['0.0.0.0', '::']) await aws.listen({ host, port: 80, name: 'aws' })
    })
    after(async () => {
      await node?.close()
      rmSync(directory, { recursive: true })
    })
    afterEach(async () => {
      await guard?.end('SIGKILL')
      guard = undefined
      rmSync(statusFile(), { force: true })
      await node.run('node', ['nft', 'flush', 'ruleset'])
      if (form === 'iptables-legacy') await node.run('node', ['sh', '-c', FLUSH_LEGACY])
      await node.run('node', ['ip', 'link', 'delete', BROKER_LINK])
    })

    const from = async (network: 'pod1' | 'node', host: string) =>
      (await (await node.agent(network)).tcp({ host, port: 80 })).outcome
    /** Two pods connect repeatedly, one by IPv4 and one by IPv6. */
    const hammer = async () => {
      const pods = await Promise.all([node.agent('pod1'), node.agent('pod2')])
      await Promise.all(
        ['169.254.169.254', 'fd00:ec2::254'].map((host, index) => pods[index]?.hammer({ host, port: 80 })),
      )
      return {
        inVain: async () => {
          for (const pod of pods) {
            const { tried, gaps } = await pod.rest({})
            assert.ok(tried > 0)
            assert.deepEqual(gaps, [])
          }
        },
      }
    }
    /** Loads the printed rules as the unit does. */
    const load = (...argv: string[]) => {
      const rules = printed('--print=rules', `--backend=${backend}`, ...argv)
      const command = backend === 'nft' ? ['nft', '-f', '-'] : inPath(directory, 'sh', '-s')
      return node.must('node', command, rules)
    }
    const start = async (...flags: string[]) => {
      const wrapper = form === 'iptables-legacy' ? ADMIN_AND_RAW : NET_ADMIN_ONLY
      guard = await startGuard(node, flags, wrapper)
      return guard
    }
    /** The warning of `status` about boot rules, once this guard has searched for them, which it does together with leftovers. */
    const warning = async (): Promise<string | undefined> => {
      let found: { leftoversAt: string | null; warnings: { code: string; detail: string }[] } | undefined
      await until('the guard has looked', () => {
        found = existsSync(statusFile()) ? JSON.parse(readFileSync(statusFile(), 'utf8')).status : undefined
        return typeof found?.leftoversAt === 'string'
      })
      return found?.warnings.find(({ code }) => code === 'boot-rules')?.detail
    }
    const statusFile = () => node.machine.path('/run/pod2iam/firewall-status.json')
    /** Whether this form's rules are in place. */
    const stand = async () =>
      form === 'nft'
        ? (await node.run('node', ['nft', 'list', 'table', 'inet', 'pod2iam_guard'])).code === 0
        : (await saved()).some((line) => line.includes('POD2IAM-'))
    const saved = async () =>
      (await node.must('node', [`${form}-save`])).split('\n').filter((line) => /^[*:-]/.test(line))
    const markers = async () =>
      form === 'nft'
        ? [
            ...(await node.must('node', ['nft', 'list', 'table', 'inet', 'pod2iam_boot'])).matchAll(
              /chain (\w+)/g,
            ),
          ].map(([, name = '']) => name)
        : (await saved()).flatMap((line) => /^:(POD2IAM_BOOT_\w+)/.exec(line)?.[1] ?? [])
    const isMarked = async () => {
      const [marker, ...others] = await markers()
      assert.deepEqual(others, [])
      return bootMarkers(BY_DEFAULT).includes(marker ?? '')
    }

    test('refuses pods and nothing else without pod2iam running, and can be loaded repeatedly', async () => {
      assert.equal(await from('pod1', '169.254.169.254'), 'aws', 'open before')
      const all: string[] = []
      for (let boot = 0; boot < 3; boot++) {
        await load(...(boot === 0 ? ['--metadata-address=169.254.169.254'] : []))
        if (boot > 0)
          all.push((await node.must('node', rulesOf(form))).replaceAll(/\[.*|^#.*|packets .*/gm, ''))
        for (const host of ['169.254.169.254', ...(boot > 0 ? ['fd00:ec2::254'] : [])]) {
          assert.equal(await from('pod1', host), 'ECONNREFUSED')
          assert.equal(await from('node', host), 'aws')
        }
        for (const host of NEIGHBOURS) assert.equal(await from('pod1', host), 'aws', host)
      }
      assert.equal(all[0], all[1], 'loading again gives the same rules')
      assert.ok(await isMarked())
    })

    test('keeps refusing every request of a pod while the guard takes over, and after it ends', async () => {
      await load()
      const trying = await hammer()
      const taking = await start(`--backend=${same}`)
      await taking.becomes('ready')
      assert.equal(await taking.metric(`info{backend="${form}",mode="enforce"}`), 1)
      await taking.end('SIGTERM')
      await (await start(`--backend=${same}`)).becomes('ready')
      await trying.inVain()
      assert.equal(await warning(), undefined)
      assert.ok(await isMarked(), 'their marker stays')
    })

    test('hands over without a gap also to a guard of the other backend, which removes these rules', async () => {
      await load()
      const trying = await hammer()
      await (await start(`--backend=${other}`)).becomes('ready')
      if (form === 'nft' || other === 'nft') await until('they are removed', async () => !(await stand()))
      await trying.inVain()
      assert.equal(await from('pod1', '169.254.169.254'), 'ECONNREFUSED')
      assert.equal(await warning(), undefined)
      assert.ok(await isMarked())
    })

    test('opens nothing when it is loaded under a running guard, which restores its own rules', async () => {
      await load()
      const running = await start(`--backend=${same}`)
      await running.becomes('ready')
      const trying = await hammer()
      for (let round = 0; round < 3; round++) await load()
      await until('a repair', async () => (await running.repairs()) > 0)
      await running.becomes('ready')
      await trying.inVain()
    })

    for (const own of [same, other])
      test(`causes a warning of a guard with backend ${own} if its settings differ`, async () => {
        await load('--metadata-address=169.254.169.254')
        await (await start(`--backend=${own}`)).becomes('ready')
        const warned = (await warning()) ?? ''
        assert.match(warned, /another release or other settings.*boot-rules/)
        await until('it is logged', () =>
          (guard?.logs ?? []).some(({ level, detail }) => level === 'warn' && detail === warned),
        )
      })

    test('causes a warning of a guard in mode audit that the node refuses until the guard runs', async () => {
      await load()
      await (await start('--mode=audit')).becomes('auditing')
      assert.match((await warning()) ?? '', new RegExp(`systemctl disable ${UNIT}`))
      await until('it is open', async () => (await from('pod1', '169.254.169.254')) === 'aws')
    })

    test('is named by `remove`, since its unit loads the rules again', async () => {
      const remove = [process.execPath, MAIN, 'remove', '--open-this-node']
      assert.doesNotMatch(await node.must('node', remove), /systemctl/)
      await load()
      assert.match(await node.must('node', remove), new RegExp(`systemctl disable ${UNIT}`))
      assert.equal(await from('pod1', '169.254.169.254'), 'aws')
      const removing = await start('--mode=remove')
      await removing.becomes('removed')
      await until('it is logged', () => removing.logs.some(({ msg }) => msg === 'rules of boot left'))
      assert.equal(await stand(), false)
    })

    test('as a script for user data writes both files and loads the rules, also when it runs again', async () => {
      writeFileSync(join(directory, 'user-data'), printed(`--backend=${backend}`))
      const script = join(directory, 'user-data')
      const output = await node.must('node', inEmptyEtc(directory, `sh ${script} && sh ${script}`))
      const once = `systemctl daemon-reload\nsystemctl enable ${UNIT}\nsystemctl reload-or-restart ${UNIT}\n`
      assert.equal(output, once + once)
      assert.equal(await from('pod1', '169.254.169.254'), 'ECONNREFUSED')
      assert.ok(await isMarked())
    })

    test('as a script fails if the rules cannot be loaded, but has installed the unit that keeps the kubelet from starting', async () => {
      writeFileSync(join(directory, 'user-data'), printed(`--backend=${backend}`))
      const programs = ['nft', 'iptables-nft', 'iptables-legacy', 'ip6tables-nft', 'ip6tables-legacy']
      const missing = programs.map((name) => `mount --bind /dev/null ${findTool(name)}`).join(' && ')
      const run = `${missing} && sh ${directory}/user-data; code=$?; test -s /etc/systemd/system/${UNIT} && exit $code`
      const failed = await node.run('node', inEmptyEtc(directory, run))
      assert.equal(failed.code, 1)
      assert.match(
        failed.stderr,
        new RegExp(`gets no kubelet; is the package ${backend === 'nft' ? 'nftables' : 'iptables'}`),
      )
      assert.match(failed.stdout, new RegExp(`enable ${UNIT}`), 'the unit is installed')
    })

    if (backend === 'iptables') {
      test('keeps rules of other programs, even if they mention ours, and puts ours before them', async () => {
        const theirs = [
          '-A FORWARD -m comment --comment "goes -j POD2IAM-FORWARD" -j ACCEPT',
          '-A FORWARD -i lo -m comment --comment POD2IAM-FORWARD -j ACCEPT',
        ]
        await node.must('node', [`${form}-restore`], `*filter\n${theirs.join('\n')}\nCOMMIT\n`)
        for (let boot = 0; boot < 2; boot++) await load()
        const forward = (await saved()).filter((line) => line.startsWith('-A FORWARD'))
        assert.deepEqual(forward, ['-A FORWARD -j POD2IAM-FORWARD', ...theirs])
      })

      const withRestore = async (program: string, script: string) => {
        const own = mkdtempSync(join(tmpdir(), 'pod2iam-boot-'))
        try {
          writeFileSync(join(own, program), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
          const rules = printed('--print=rules', '--backend=iptables')
          const { code } = await node.run('node', inPath(`${own}:${directory}`, 'sh', '-s'), rules)
          return code
        } finally {
          rmSync(own, { recursive: true })
        }
      }

      test('fails if one family cannot be loaded', async () => {
        assert.equal(await withRestore('ip6tables-restore', 'exit 1'), 1)
      })

      test('retries if another program has changed the jumps meanwhile', async () => {
        const once = `mkdir /run/tried 2>/dev/null && exit 1; exec ${directory}/iptables-restore "$@"`
        assert.equal(await withRestore('iptables-restore', once), 0)
        assert.equal(await from('pod1', '169.254.169.254'), 'ECONNREFUSED')
      })
    }

    if (form === 'iptables-legacy') {
      test('causes a warning of a guard that may not read iptables-legacy that its rules may be left', async () => {
        await load()
        guard = await startGuard(node, ['--backend=nft'], NET_ADMIN_ONLY)
        await guard.becomes('ready')
        await until('it has looked', () =>
          (guard?.logs ?? []).some(({ msg }) => msg === 'rules of another backend may be left'),
        )
        assert.equal(await from('pod1', '169.254.169.254'), 'ECONNREFUSED')
      })

      test('uses iptables-legacy on a node whose iptables needs nf_tables and whose kernel has none', async () => {
        const own = mkdtempSync(join(tmpdir(), 'pod2iam-boot-'))
        try {
          writeFileSync(join(own, 'iptables-save'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
          const rules = printed('--print=rules', '--backend=iptables')
          await node.must('node', inPath(own, 'sh', '-s'), rules)
          assert.equal(await from('pod1', '169.254.169.254'), 'ECONNREFUSED')
          assert.equal(await from('pod1', 'fd00:ec2::254'), 'ECONNREFUSED')
          assert.ok(await stand())
        } finally {
          rmSync(own, { recursive: true })
        }
      })
    }
  })

/** A command that prints all rules of a node. */
const rulesOf = (form: Form) =>
  form === 'nft'
    ? ['nft', 'list', 'ruleset']
    : ['sh', '-ec', `${form}-save; ${form.replace('ip', 'ip6')}-save`]

const inPath = (directory: string, ...argv: string[]) => [
  'env',
  `PATH=${directory}:${process.env.PATH}:/usr/sbin`,
  ...argv,
]

/** Runs a script with its own `/etc` and our stand-in for systemctl. */
const inEmptyEtc = (directory: string, script: string) => [
  'unshare',
  '--mount',
  'sh',
  '-c',
  `mount -t tmpfs none /etc && mkdir -p /etc/systemd/system && export PATH=${directory}:$PATH:/usr/sbin && ${script}`,
]

/** Makes iptables this variant. There is no systemd here, so a stand-in runs the command of the unit. */
function useVariant(directory: string, form: Form): void {
  if (form !== 'nft')
    for (const ip of ['ip', 'ip6'])
      for (const what of ['save', 'restore'])
        symlinkSync(
          findTool(`${form.replace('ip', ip)}-${what}`) ?? '',
          join(directory, `${ip}tables-${what}`),
        )
  const systemctl = `#!/bin/sh
echo "systemctl $*"
test "$1" != reload-or-restart || $(sed -n 's/^ExecStart=//p' "/etc/systemd/system/$2")
`
  writeFileSync(join(directory, 'systemctl'), systemctl, { mode: 0o755 })
}

describe('the output of boot-rules', () => {
  test('names the rules by their content, so that other addresses are other rules', () => {
    assert.deepEqual(bootMarkers(BY_DEFAULT), bootMarkers({ ...BY_DEFAULT }))
    const others = [
      { ...BY_DEFAULT, metadata: ['169.254.169.254'] },
      { ...BY_DEFAULT, broker: ['169.254.170.25'] },
    ]
    assert.equal(new Set([BY_DEFAULT, ...others].flatMap(bootMarkers)).size, 3 * BOOT_BACKENDS.length)
  })

  const analyze = findTool('systemd-analyze')
  const skip = analyze === undefined ? { skip: 'systemd-analyze not found; install systemd' } : {}
  for (const backend of BOOT_BACKENDS)
    test(`is a unit that systemd accepts without errors, such as a cycle (${backend})`, skip, () => {
      const directory = mkdtempSync(join(tmpdir(), 'pod2iam-unit-'))
      try {
        const file = join(directory, UNIT)
        writeFileSync(file, printed('--print=unit', `--backend=${backend}`))
        const said = execFileSync(analyze ?? '', ['verify', '--man=no', '--recursive-errors=no', file], {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'pipe'],
        })
        assert.equal(said, '')
      } finally {
        rmSync(directory, { recursive: true })
      }
    })

  test('removes the file of the other form from the node', () => {
    assert.match(printed('--backend=iptables'), /^rm -f \/etc\/pod2iam\/boot\.nft$/m)
    assert.match(printed(), /^rm -f \/etc\/pod2iam\/boot-iptables\.sh$/m)
  })

  test('is refused for an unknown kind or backend, with the known ones', () => {
    assert.throws(() => printed('--print=everything'), /user-data, rules, unit/)
    assert.throws(() => printed('--backend=auto'), /nft, iptables/)
  })
})
