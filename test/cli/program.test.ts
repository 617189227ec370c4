/** What applies to every command: options, exit codes, errors. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { VERSION } from '../../common/version.ts'
import { freePort } from '../support/free-port.ts'
import { run, widest } from './support.ts'

test('--help fits 80 columns and recommends explain for a stuck pod', async () => {
  const { code, stdout, stderr } = await run(['--help'])
  assert.deepEqual([code, stderr], [0, ''])
  assert.ok(widest(stdout) <= 80, `a line has ${widest(stdout)} columns`)
  assert.match(stdout, /Why is a pod stuck[^\n]*\n {2}pod2iam explain POD\n/)
})

test('the help of every command fits 80 columns', async () => {
  const { stdout } = await run(['--help'])
  const commands = [...stdout.matchAll(/^ {2}(\w+) .*?(?: {2}|$)/gm)].map(([, name]) => name ?? '')
  const listed = commands.slice(0, commands.indexOf('pod2iam'))
  assert.ok(listed.includes('explain'))
  for (const name of listed.filter((one) => one !== 'help')) {
    const help = await run([name, '--help'])
    assert.equal(help.code, 0, name)
    assert.ok(widest(help.stdout) <= 80, `${name}: a line has ${widest(help.stdout)} columns`)
    assert.match(help.stdout, /--kubeconfig/, name)
  }
})

test('--version prints the version', async () => {
  const { code, stdout } = await run(['--version'])
  assert.deepEqual([code, stdout], [0, `${VERSION}\n`])
})

for (const [what, args, said] of [
  ['nothing', [], /Usage: pod2iam/],
  ['an unknown command', ['explode'], /unknown command 'explode'/],
  ['an unknown option', ['explain', '--all'], /unknown option '--all'/],
  ['an unknown output format', ['explain', 'x', '-o', 'xml'], /Allowed choices are table, json, yaml/],
  ['neither pod nor file', ['explain'], /there is nothing to explain \(usage\)\n→ pod2iam explain POD/],
] as const)
  test(`${what} on the command line causes exit code 2 and a remedy`, async () => {
    const { code, stdout, stderr } = await run(args)
    assert.deepEqual([code, stdout], [2, ''])
    assert.match(stderr, said)
  })

test('the program says how to name a kubeconfig if there is none', async () => {
  const { code, stderr } = await run(['explain', 'pod'])
  assert.equal(code, 2)
  assert.match(
    stderr,
    /there is no kubeconfig \(kubeconfig-missing\)\n→ name one with --kubeconfig or KUBECONFIG/,
  )
})

test('a kubeconfig that is no YAML causes exit code 2', async () => {
  const file = join(tmpdir(), `pod2iam-cli-${process.pid}.yaml`)
  await writeFile(file, '{ not: [yaml')
  const { code, stderr } = await run(['--kubeconfig', file, 'explain', 'pod'])
  assert.equal(code, 2)
  assert.match(stderr, /kubeconfig-unreadable/)
})

test('an API server that does not answer causes exit code 2 and is named with its address', async () => {
  const file = join(tmpdir(), `pod2iam-cli-away-${process.pid}.yaml`)
  const server = `https://127.0.0.1:${await freePort()}`
  await writeFile(
    file,
    JSON.stringify({
      clusters: [{ name: 'away', cluster: { server } }],
      users: [{ name: 'me', user: { token: 'secret-token' } }],
      contexts: [{ name: 'away', context: { cluster: 'away', user: 'me' } }],
      'current-context': 'away',
    }),
  )
  const { code, stderr } = await run(['--kubeconfig', file, 'explain', 'pod'])
  assert.equal(code, 2)
  assert.match(
    stderr.replaceAll('\n', ' '),
    new RegExp(`the API server ${server} does not answer .*cluster-unreachable`),
  )
  assert.doesNotMatch(stderr, /secret-token/)
  const other = await run(['--kubeconfig', file, '--context', 'elsewhere', 'explain', 'pod'])
  assert.match(other.stderr, /the kubeconfig has no context "elsewhere" \(context-unknown\)/)
})
