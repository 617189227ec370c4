/** The README promises this demo: it must run, show its six steps, and print no secret. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { WIDTH } from '../demo/fold.ts'
import { needsNamespaces } from '../sandbox/index.ts'

const DEMO = fileURLToPath(new URL('../demo/main.ts', import.meta.url))

// The socket of `--keep` is in our own directory, so that the tests do not use a demo that somebody left running.
const directory = mkdtempSync(join(tmpdir(), 'demo-'))
after(() => rmSync(directory, { recursive: true }))

function demo(...args: string[]) {
  const env = { ...process.env, TMPDIR: directory }
  return spawnSync(process.execPath, [DEMO, ...args], { encoding: 'utf8', timeout: 240_000, env })
}

test('the demo shows its six steps and ends with exit code 0', needsNamespaces(), () => {
  const { status, stdout, stderr } = demo()
  assert.equal(status, 0, stdout + stderr)
  assert.deepEqual(stdout.match(/^\d(?=\. )/gm), ['1', '2', '3', '4', '5', '6'])
  assert.match(stdout, /Everything shown: (\d+) of \1, in /)
  assert.match(stdout, /^ *default: rules are put back +\d+ +\d+ +\d+ ms$/m)
  assert.match(stdout, /^ *guard\.ownedTable: rules stay +\d+ +0 +0 ms$/m)
  const wide = stdout.split('\n').filter((line) => line.length > WIDTH)
  assert.deepEqual(wide, [], 'no line is wider than a terminal')
  for (const [, secret] of stdout.matchAll(/"(?:SecretAccessKey|Token)" : "([^"]*)"/g))
    assert.match(secret ?? '', /^.{6}…$/)
})

test(
  'the demo with --web-identity has a seventh step, in which the node is refused the role of the pod',
  needsNamespaces(),
  () => {
    const { status, stdout, stderr } = demo('--web-identity')
    assert.equal(status, 0, stdout + stderr)
    const [, last = ''] = stdout.split(/^7\. /m)
    assert.match(last, /:assumed-role\/reports-reader\/root-on-the-node\n[\s\S]*\n *AccessDenied: /)
    assert.match(last, /Everything shown: (\d+) of \1, in /)
    assert.deepEqual(
      stdout.split('\n').filter((line) => line.length > WIDTH),
      [],
    )
  },
)

test('a demo with --keep runs commands in its pods, and ends with stop', needsNamespaces(), () => {
  const kept = demo('--keep')
  try {
    assert.equal(kept.status, 0, kept.stdout + kept.stderr)
    const [, pod = ''] = /exec (\S+) --/.exec(kept.stdout) ?? []
    const ran = demo(
      'exec',
      pod,
      '--',
      'curl',
      '-s',
      'http://169.254.169.254/latest/meta-data/placement/region',
    )
    assert.deepEqual([ran.status, ran.stdout], [0, 'eu-west-1'])
    assert.equal(demo('exec', pod, '--', 'false').status, 1)
    assert.match(demo('exec', 'nobody', '--', 'true').stderr, /there is no pod nobody; the pods are /)
    const second = demo('--keep')
    assert.deepEqual(
      [second.status, second.stdout, second.stderr],
      [1, '', 'pod2iam demo: a demo was left running already; `npm run demo -- stop` ends it\n'],
    )
  } finally {
    assert.equal(demo('stop').status, 0)
  }
})

test('the demo with --loopback shows what is possible on loopback, and names what it leaves out', () => {
  const { status, stdout, stderr } = demo('--loopback')
  assert.equal(status, 0, stdout + stderr)
  assert.match(stdout, /left out: the block on the real endpoint/)
})

test('an unknown command of the demo causes one sentence and exit code 1', () => {
  const { status, stderr } = demo('bogus')
  assert.equal(status, 1)
  assert.equal(
    stderr,
    'pod2iam demo: "bogus" is not known; there are --web-identity, --loopback, --keep, --record FILE, --help, exec POD -- CMD and stop\n',
  )
})

test('the demo with --help names every command, fits a terminal, and starts nothing', () => {
  const { status, stdout, stderr } = demo('--help')
  assert.deepEqual([status, stderr], [0, ''])
  const others = ['--record FILE.svg', 'exec POD -- CMD', 'stop', '--loopback', '--help']
  for (const command of ['--keep', '--web-identity', ...others])
    assert.ok(stdout.includes(`npm run demo -- ${command}`), command)
  assert.ok(stdout.split('\n').every(({ length }) => length <= WIDTH))
})

test('exec without a running demo says how to start one', () => {
  const { status, stderr } = demo('exec', 'pod', '--', 'true')
  assert.equal(status, 1)
  assert.match(stderr, /npm run demo -- --keep/)
})
