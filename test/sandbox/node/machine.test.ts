import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { until } from '../../support/until.ts'
import { openMachine, SANDBOX_DIR } from './machine.ts'
import { needsNamespaces } from './namespace-support.ts'
import { createNetwork } from './network.ts'
import { execIn, spawnIn } from './process.ts'

const needs = needsNamespaces()

const gone = (pid: number) => until(`process ${pid} is gone`, () => !isRunning(pid))

function isRunning(pid: number): boolean {
  const status = ifThere(() => readFileSync(`/proc/${pid}/status`, 'utf8'))
  return status !== undefined && !/^State:\s+[ZX]/m.test(status)
}

/** What is read about a process; undefined if the process has ended meanwhile, or may not be looked at. */
function ifThere(read: () => string): string | undefined {
  try {
    return read()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES') return undefined
    throw error
  }
}

const namespaces = () => spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' }).stdout

test('two machines use the same names and are independent', needs, async () => {
  const [a, b] = await Promise.all([openMachine(), openMachine()])
  try {
    await Promise.all([createNetwork(a), createNetwork(b, { topology: 'bridge' })])
    writeFileSync(a.path(`${SANDBOX_DIR}/mark`), 'a')
    assert.equal(existsSync(b.path(`${SANDBOX_DIR}/mark`)), false)
    const links = async (machine: typeof a) => (await execIn(machine, 'node', ['ip', '-br', 'link'])).stdout
    assert.doesNotMatch(await links(a), /cni0/)
    assert.match(await links(b), /cni0/)
    assert.doesNotMatch(namespaces(), /^(aws|node)\b/m)
  } finally {
    await Promise.all([a.close(), b.close()])
  }
})

test('close ends all processes, even those that have left their parents', needs, async () => {
  const machine = await openMachine()
  const { child, before } = await (async () => {
    await createNetwork(machine)
    const child = spawnIn(machine, 'node', ['sh', '-c', 'setsid sleep 1000 & setsid sleep 1000 & wait'])
    // Both sleeps and the shell, as the kernel shows them from outside.
    const members = () => pidsIn(machine.pid)
    await until('all four processes', () => members().length >= 4)
    return { child, before: members() }
  })().finally(() => machine.close())
  await Promise.all([...before, child.pid ?? 0].map(gone))
})

/** Processes in the PID namespace of a process. */
function pidsIn(pid: number): number[] {
  const namespaceOf = (name: string) => ifThere(() => readlinkSync(`/proc/${name}/ns/pid`))
  const wanted = namespaceOf(String(pid))
  assert.ok(wanted !== undefined, `process ${pid} has ended`)
  const names = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return names.filter((name) => namespaceOf(name) === wanted).map(Number)
}

const OWNER = `
import { openMachine } from ${JSON.stringify(fileURLToPath(new URL('machine.ts', import.meta.url)))}
import { createNetwork } from ${JSON.stringify(fileURLToPath(new URL('network.ts', import.meta.url)))}
import { spawnIn } from ${JSON.stringify(fileURLToPath(new URL('process.ts', import.meta.url)))}
const machine = await openMachine()
await createNetwork(machine)
const child = spawnIn(machine, 'node', ['sh', '-c', 'sleep 1000 & echo $$; wait'], { stdio: ['ignore', 'pipe', 'inherit'] })
child.stdout.once('data', () => console.log(machine.pid, child.pid))
process.stdin.once('data', () => { throw new Error('nobody catches this') })
`

for (const [how, end] of [
  ['SIGKILL', (owner) => owner.kill('SIGKILL')],
  ['SIGINT', (owner) => owner.kill('SIGINT')],
  ['SIGTERM', (owner) => owner.kill('SIGTERM')],
  ['an uncaught exception', (owner) => owner.stdin?.write('x')],
] as const satisfies [string, (owner: ReturnType<typeof spawn>) => unknown][])
  test(`nothing of a machine is left when its owner ends by ${how}`, needs, async () => {
    const before = namespaces()
    const args = ['--input-type=module-typescript', '--no-warnings', '-e', OWNER]
    const owner = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'ignore'] })
    try {
      const [line] = await once(owner.stdout, 'data')
      const [first = 0, child = 0] = String(line).trim().split(' ').map(Number)
      const all = [...pidsIn(first), child]
      assert.ok(all.length >= 3, `only ${all}`)
      end(owner)
      await once(owner, 'exit')
      await Promise.all(all.map(gone))
      assert.equal(namespaces(), before)
    } finally {
      owner.kill('SIGKILL')
    }
  })
