/** A pod on the host network can take the port of the broker's health, as soon as the broker is not there. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { readHostPods } from '../../common/host-pods.ts'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import { NODE, World } from './world.ts'

let world: World
let bundle: string
let child: ChildProcess | undefined
let squatter: Server | undefined

before(async () => {
  world = await World.start()
  bundle = join(world.directory, 'broker.cjs')
  await build({
    entryPoints: [fileURLToPath(new URL('../../node-guard/broker/main.ts', import.meta.url))],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    logLevel: 'error',
  })
})
after(async () => {
  child?.kill('SIGKILL')
  squatter?.close()
  await world.stop()
})

test('a broker whose health port is taken tells the firewall about pods on the host network, and serves', async () => {
  const [port, health] = [await freePort(), await freePort()]
  squatter = createServer().listen(health)
  await once(squatter, 'listening')
  await world.namespace('shop')
  await world.pod('shop', 'squatter', { hostNetwork: true, sidecar: false })
  const directory = join(world.directory, 'pods')
  await mkdir(directory)
  child = spawn(
    process.execPath,
    [
      ...[bundle, '--node-name', NODE, '--kubeconfig', world.kubeconfig, '--listen', '127.0.0.78'],
      ...['--port', String(port), '--health-port', String(health), '--host-pods-dir', directory],
      ...['--state-dir', join(world.directory, 'state')],
    ],
    { env: { PATH: process.env.PATH, ...world.aws.environment() }, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let errors = ''
  child.stderr?.on('data', (chunk) => {
    errors += chunk
  })
  await until('the list is written', async () => {
    assert.equal(child?.exitCode, null, `the broker has ended: ${errors.slice(0, 400)}`)
    return (await readHostPods(directory)).ok
  })
})
