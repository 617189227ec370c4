/** `firewall status` as a program: without a guard, with one, and with one whose tables it cannot read. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { until } from '../support/until.ts'
import {
  ADMIN_AND_RAW,
  type GuardProcess,
  NET_ADMIN_ONLY,
  NO_CAPABILITY,
  startGuard,
} from './guard-process.ts'
import { MAIN, openNode, type TestNode } from './node.ts'

const FIELDS = [
  ...['backend', 'mode', 'verified', 'verifiedAt', 'ownedTable', 'refusedPackets', 'repairs', 'brokerLink'],
  ...['leftovers', 'leftoversAt', 'warnings', 'audit', 'hostNetwork'],
]
const STATUS = {
  backend: 'nft',
  mode: 'enforce',
  verified: true,
  verifiedAt: '2026-01-01T12:00:00.000Z',
  ownedTable: false,
  refusedPackets: 0,
  repairs: 0,
  brokerLink: 'up',
  leftovers: [],
  warnings: [],
  audit: [],
  hostNetwork: null,
}
const WRITTEN = { version: 1, writtenAt: '2026-01-01T12:00:00.000Z', validSeconds: 30, status: STATUS }

describe('firewall status without a guard', () => {
  let directory: string
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'status-'))
    // So that another user can reach its files.
    await chmod(directory, 0o755)
  })
  after(() => rm(directory, { recursive: true }))

  type Ended = { code: number | string; stdout: string; stderr: string }
  const status = (stateDir: string, wrapper: readonly string[], ...flags: string[]) =>
    new Promise<Ended>((resolve) => {
      const [command = '', ...args] = [
        ...[...wrapper, process.execPath, MAIN, 'status', `--state-dir=${stateDir}`, ...flags],
      ]
      execFile(command, args, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : (error.code ?? 'signal'), stdout, stderr }),
      )
    })
  const place = async (name: string, text: string) => {
    const stateDir = join(directory, name)
    await mkdir(stateDir)
    await writeFile(join(stateDir, 'firewall-status.json'), text, { mode: 0o600 })
    return stateDir
  }

  const whole = JSON.stringify(WRITTEN)
  const CASES: Record<string, [code: string, place: () => Promise<string>, wrapper?: readonly string[]]> = {
    'a missing directory': ['guard-missing', async () => join(directory, 'nowhere')],
    'a file in the place of the directory': [
      'guard-missing',
      async () => join(await place('file', whole), 'firewall-status.json'),
    ],
    'a missing file': [
      'guard-missing',
      async () => {
        await mkdir(join(directory, 'no-file'))
        return join(directory, 'no-file')
      },
    ],
    'an empty file': ['status-damaged', () => place('empty', '')],
    'a file of zeros': ['status-damaged', () => place('zeros', '\0'.repeat(4096))],
    'a truncated file': ['status-damaged', () => place('truncated', whole.slice(0, -10))],
    'a status of another version': [
      'status-foreign',
      () => place('version', JSON.stringify({ ...WRITTEN, version: 2 })),
    ],
    'the value null': ['status-foreign', () => place('null', 'null')],
    'a list': ['status-foreign', () => place('list', '[]')],
    'a status without a field': [
      'status-foreign',
      () => place('field', JSON.stringify({ ...WRITTEN, status: { ...STATUS, warnings: undefined } })),
    ],
    'a status with a field of another type': [
      'status-foreign',
      () => place('kind', JSON.stringify({ ...WRITTEN, status: { ...STATUS, leftovers: [{ kind: 1 }] } })),
    ],
    'a status with an invalid time': [
      'status-foreign',
      () => place('time', JSON.stringify({ ...WRITTEN, writtenAt: 'soon' })),
    ],
    'a directory in the place of the file': [
      'status-unreadable',
      async () => {
        await mkdir(join(directory, 'directory', 'firewall-status.json'), { recursive: true })
        return join(directory, 'directory')
      },
    ],
    'a file that is too long': [
      'status-unreadable',
      async () => {
        await mkdir(join(directory, 'endless'))
        await symlink('/dev/zero', join(directory, 'endless', 'firewall-status.json'))
        return join(directory, 'endless')
      },
    ],
    ...(process.getuid?.() === 0
      ? {
          'a file of another user': [
            'status-unreadable',
            () => place('user', whole),
            ['setpriv', '--reuid=65532', '--clear-groups', '--bounding-set=-all', '--inh-caps=-all', '--'],
          ] satisfies [string, () => Promise<string>, readonly string[]],
        }
      : {}),
    'a guard that does not report any more': ['guard-silent', () => place('silent', whole)],
  }
  for (const [what, [code, placed, wrapper = []]] of Object.entries(CASES))
    test(`reports ${what} by the warning ${code} with exit code 1, and by a sentence without --json`, async () => {
      const stateDir = await placed()
      const json = await status(stateDir, wrapper, '--json')
      assert.equal(json.code, 1, json.stderr)
      assert.equal(json.stderr, '')
      assert.match(json.stdout, /^\{[^\n]+\}\n$/)
      const printed = JSON.parse(json.stdout)
      assert.deepEqual(Object.keys(printed).sort(), FIELDS.toSorted())
      assert.equal(printed.verified, false)
      assert.equal(printed.warnings[0].code, code)
      const text = await status(stateDir, wrapper)
      assert.equal(text.code, 1)
      assert.match(
        text.stdout + text.stderr,
        code === 'guard-silent' ? /guard-silent/ : /^pod2iam .+: .+\.\n$/,
      )
    })

  test('reports mistakes in its settings on stderr, also with --json', async () => {
    const { code, stdout, stderr } = await status(directory, [], '--json', '--colour')
    assert.deepEqual([code, stdout], [2, ''])
    assert.match(stderr, /"--colour" is not a setting/)
  })
})

type Told = {
  verified: boolean
  leftovers: { kind: string; remove: string }[]
  leftoversAt: string
  warnings: { code: string; detail: string }[]
}

describe('the leftovers in firewall status', needsNamespaces(), () => {
  let node: TestNode
  let guard: GuardProcess | undefined
  before(async () => {
    node = await openNode()
  })
  after(() => node?.close())
  afterEach(async () => {
    await guard?.end('SIGKILL')
    await node.must('node', [process.execPath, MAIN, 'remove', '--open-this-node'])
    await node.must('node', ['iptables-nft', '-t', 'nat', '-F'])
  })

  const program = [process.execPath, MAIN, 'status', '--json']
  const shown = async (wrapper: readonly string[] = NET_ADMIN_ONLY, network: 'node' | 'pod1' = 'node') =>
    JSON.parse((await node.run(network, [...wrapper, ...program])).stdout) as Told
  const add = () =>
    node.must(
      'node',
      'iptables-nft -t nat -A PREROUTING -p tcp -d 169.254.169.254 --dport 80 -i eni+ -j DNAT --to-destination 10.0.0.10:8181'.split(
        ' ',
      ),
    )
  /** Starts a guard, waits until it has searched for leftovers, and gives the status that it wrote then. */
  const start = async (...flags: string[]) => {
    // The file may have been written by an earlier guard.
    const begun = Date.now()
    guard = await startGuard(node, ['--poll-interval=5m', ...flags])
    await guard.becomes('ready')
    const file = node.machine.path('/run/pod2iam/firewall-status.json')
    let written = { status: { leftoversAt: null as string | null } }
    await until('the guard has searched', async () => {
      const text = await readFile(file, 'utf8').catch(() => undefined)
      if (text === undefined) return false
      written = JSON.parse(text)
      return Date.parse(written.status.leftoversAt ?? '') >= begun
    })
    return written
  }

  for (const backend of ['nft', 'iptables'])
    test(`do not have our own rules of backend ${backend}, in the guard and in status`, async () => {
      await start(`--backend=${backend}`, '--metadata-address=169.254.169.254,fd00:ec2::254,100.100.100.200')
      const saved = await node.must('node', ['ip6tables-nft-save', '-t', 'nat'])
      assert.equal(/POD2IAM-PIN .+DNAT/.test(saved), backend === 'iptables')
      assert.equal(await guard?.metric('leftover_rules'), 0)
      assert.deepEqual((await shown()).leftovers, [])
    })

  test('are the current ones, although the guard searches every five minutes only', async () => {
    await add()
    await start()
    const before = Date.now()
    const [leftover] = (await shown()).leftovers
    assert.equal(leftover?.kind, 'kube2iam-or-kiam')
    await node.must('node', leftover?.remove.split(' ') ?? [])
    const { leftovers, leftoversAt, warnings } = await shown()
    assert.deepEqual([leftovers, warnings.filter(({ code }) => code.startsWith('leftovers'))], [[], []])
    assert.ok(Date.parse(leftoversAt) >= before && Date.parse(leftoversAt) <= Date.now())
    assert.equal(await guard?.metric('leftover_rules'), 1)
    await add()
    assert.equal((await shown()).leftovers.length, 1)
    const text = await node.must('node', [...NET_ADMIN_ONLY, ...program.slice(0, -1)])
    assert.match(text, /^leftovers +1 \(as of \d+s ago\)\nleftover +kube2iam-or-kiam: iptables-nft -A /m)
  })

  test('are those that the guard found, with the time, if they cannot be read without rights or in another network namespace', async () => {
    await add()
    const written = await start()
    for (const [seen, why] of [
      [await shown(NO_CAPABILITY), /iptables-nft could not be read/],
      [await shown(NET_ADMIN_ONLY, 'pod1'), /not the network namespace of the guard/],
    ] as const) {
      assert.equal(seen.verified, true)
      assert.equal(seen.leftovers.length, 1)
      assert.equal(seen.leftoversAt, written.status.leftoversAt)
      const { detail = '' } = seen.warnings.find(({ code }) => code === 'leftovers-old') ?? {}
      assert.match(detail, why)
      assert.ok(detail.includes(`as of ${written.status.leftoversAt}`), detail)
    }
  })

  test('do not have our own rules of iptables-legacy', async () => {
    // The guard chooses the variant that has the node's other rules.
    await node.must('node', ['iptables-legacy', '-t', 'nat', '-L'])
    guard = await startGuard(node, ['--poll-interval=5m', '--backend=iptables'], ADMIN_AND_RAW)
    await guard.becomes('ready')
    assert.match(await node.must('node', ['ip6tables-legacy-save', '-t', 'nat']), /POD2IAM-PIN .+DNAT/)
    assert.equal(await guard.metric('leftover_rules'), 0)
    const { leftovers, warnings } = await shown(ADMIN_AND_RAW)
    assert.deepEqual([leftovers, warnings.filter(({ code }) => code.startsWith('leftovers'))], [[], []])
  })
})
