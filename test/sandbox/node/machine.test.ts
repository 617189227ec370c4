import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { openMachine, SANDBOX_DIR } from './machine.ts'
import { needsNamespaces } from './namespace-support.ts'
import { createNetwork } from './network.ts'
import { execIn, spawnIn } from './process.ts'

const needs = needsNamespaces()

/** Waits until a process is gone; fails after half a minute. */
async function gone(pid: number): Promise<void> {
  for (const deadline = Date.now() + 30_000; existsSync(`/proc/${pid}`); await wait(10)) {
    if (/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) return
    assert.ok(Date.now() < deadline, `process ${pid} is still there`)
  }
}

const namespaces = () => spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' }).stdout

test('two machines have the same names and know nothing of each other', needs, async () => {
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

test('close ends processes that left their parents, too', needs, async () => {
  const machine = await openMachine()
  await createNetwork(machine)
  const child = spawnIn(machine, 'node', ['sh', '-c', 'setsid sleep 1000 & setsid sleep 1000 & wait'])
  // Both of them and the shell, as the kernel sees them from outside.
  const members = () => pidsIn(machine.pid)
  for (const deadline = Date.now() + 30_000; members().length < 4; await wait(10))
    assert.ok(Date.now() < deadline)
  const before = members()
  await machine.close()
  await Promise.all([...before, child.pid ?? 0].map(gone))
})

/** Processes in the PID namespace of a process. */
function pidsIn(pid: number): number[] {
  const script = `for p in /proc/[0-9]*; do [ "$(readlink $p/ns/pid)" = "$(readlink /proc/${pid}/ns/pid)" ] && echo \${p#/proc/}; done; true`
  const { stdout } = spawnSync('sh', ['-c', script], { encoding: 'utf8' })
  return stdout.trim().split('\n').filter(Boolean).map(Number)
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
  test(`nothing stays when its owner ends by ${how}`, needs, async () => {
    const before = namespaces()
    const args = ['--input-type=module-typescript', '--no-warnings', '-e', OWNER]
    const owner = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'ignore'] })
    const [line] = await once(owner.stdout, 'data')
    const [first = 0, child = 0] = String(line).trim().split(' ').map(Number)
    const all = [...pidsIn(first), child]
    assert.ok(all.length >= 3, `only ${all}`)
    end(owner)
    await once(owner, 'exit')
    await Promise.all(all.map(gone))
    assert.equal(namespaces(), before)
  })
