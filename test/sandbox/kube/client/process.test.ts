import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { eventually } from '../../../support/until.ts'
import { ApiServer } from './client.ts'

const CLIENT = pathToFileURL(join(import.meta.dirname, 'client.ts')).href

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'kube-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

test('the server listens on several addresses, IPv6 included, and its certificate has each of them', async (t) => {
  const listen = ['127.0.0.1', '127.0.0.2', '::1'].map((host) => ({ host, port: 0 }))
  const api = await ApiServer.start({ directory: await directory(t), listen, controllers: false })
  t.after(() => api.stop())
  for (const { host } of listen)
    assert.equal((await api.client(api.adminToken, host).request('GET', '/readyz')).body, 'ok')
  assert.match(api.url('::1'), /^https:\/\/\[::1\]:\d+$/)
})

test('the server ends when the process that started it is killed', async (t) => {
  const script = `
    const { ApiServer } = await import(${JSON.stringify(CLIENT)})
    const api = await ApiServer.start({ directory: ${JSON.stringify(await directory(t))}, controllers: false })
    console.log(api.pid)
    setInterval(() => {}, 1000)`
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => parent.kill('SIGKILL'))
  const [line] = await once(createInterface({ input: parent.stdout }), 'line')
  const pid = Number(line)
  assert.ok(isAlive(pid))
  parent.kill('SIGKILL')
  await eventually('the server to end', () => !isAlive(pid))
})

test('the server does not keep alive the process that started it', async (t) => {
  const script = `
    const { ApiServer } = await import(${JSON.stringify(CLIENT)})
    const api = await ApiServer.start({ directory: ${JSON.stringify(await directory(t))}, controllers: false })
    await api.admin.list('pods')
    api.admin.close()
    console.log(api.pid)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  const exited = once(child, 'exit')
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  assert.deepEqual(await exited, [0, null])
  await eventually('the server to end', () => !isAlive(Number(line)))
})

test('stop ends the process, and may be called twice', async (t) => {
  const api = await ApiServer.start({ directory: await directory(t) })
  await api.stop()
  await api.stop()
  assert.equal(isAlive(api.pid), false)
})

test('a server that cannot start reports its reason and leaves no process', async (t) => {
  let child: ChildProcess | undefined
  const start = ApiServer.start({
    directory: await directory(t),
    listen: [{ host: '192.0.2.1', port: 0 }],
    spawn: (command, args, options) => {
      child = spawn(command, args, options)
      return child
    },
  })
  await assert.rejects(start, /EADDRNOTAVAIL/)
  await eventually('its end', () => child?.exitCode !== null || child?.signalCode !== null)
})

test('a directory whose path is too long for a unix socket is refused with a sentence', async () => {
  await assert.rejects(
    ApiServer.start({ directory: `/tmp/${'x'.repeat(120)}` }),
    /is too long for unix sockets/,
  )
})

const canUnshare = spawnSync('unshare', ['-n', 'true']).status === 0
test('a server in another network namespace is reached through its unix socket', {
  skip: !canUnshare && 'needs the right to make network namespaces',
}, async (t) => {
  const api = await ApiServer.start({
    directory: await directory(t),
    spawn: (command, args, options) =>
      spawn('unshare', ['-n', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', command, ...args], options),
  })
  t.after(() => api.stop())
  assert.ok((await api.admin.list('namespaces')).items.length > 0)
  await assert.rejects(api.client(api.adminToken).list('namespaces'), { code: 'ECONNREFUSED' })
})
