import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, describe, test } from 'node:test'
import { type Machine, openMachine } from './machine.ts'
import { needsNamespaces } from './namespace-support.ts'
import { createNetwork } from './network.ts'
import { execIn, spawnIn } from './process.ts'

describe('processes in a network namespace', needsNamespaces(), () => {
  let machine: Machine
  before(async () => {
    machine = await openMachine()
    await createNetwork(machine)
  })
  after(() => machine?.close())

  test('the result of a command has its output, its exit code and its duration', async () => {
    const started = performance.now()
    const { code, stdout, stderr, ms, timedOut } = await execIn(
      machine,
      'node',
      ['sh', '-c', 'cat; echo err >&2; exit 7'],
      { input: 'in' },
    )
    assert.deepEqual(
      { code, stdout, stderr, timedOut },
      { code: 7, stdout: 'in', stderr: 'err\n', timedOut: false },
    )
    assert.ok(ms > 0 && ms <= performance.now() - started, `${ms} ms`)
  })

  test('a command that takes too long is killed, and its result says so', async () => {
    const result = await execIn(machine, 'node', ['sleep', '1000'], { timeout: 100 })
    assert.equal(result.timedOut, true)
    assert.equal(result.code, 137)
  })

  test('a command that does not exist fails', async () => {
    const { code, stderr } = await execIn(machine, 'node', ['no-such-command'])
    assert.equal(code, 127)
    assert.match(stderr, /no-such-command/)
  })

  test('a command has the given environment and working directory', async () => {
    const { stdout } = await execIn(machine, 'node', ['sh', '-c', 'echo $WORD; pwd'], {
      env: { WORD: 'yes' },
      cwd: '/usr',
    })
    assert.equal(stdout, 'yes\n/usr\n')
  })

  test('another uid runs without capabilities', needsNamespaces('root'), async () => {
    const { stdout } = await execIn(machine, 'node', ['sh', '-c', 'id -u; grep CapEff /proc/self/status'], {
      uid: 65532,
    })
    assert.equal(stdout, '65532\nCapEff:\t0000000000000000\n')
  })

  test('kill signals the process itself, not only nsenter', async () => {
    const script = `process.on('SIGTERM', () => { console.log('got it'); process.exit(3) }); console.log('up'); setInterval(() => {}, 1000)`
    const child = spawnIn(machine, 'node', [process.execPath, '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let output = ''
    child.stdout?.on('data', (chunk) => {
      output += chunk
    })
    while (!output.includes('up')) await once(child.stdout ?? child, 'data')
    assert.equal(child.kill('SIGTERM'), true)
    const [code] = await once(child, 'close')
    assert.equal(code, 3)
    assert.match(output, /got it/)
  })
})
