/**
 * Runs in a network namespace of its own (`unshare --net`): the built sidecar behind the redirect that the gate loads, with
 * the metadata of a file, and then each of the given programs. Prints their lines of JSON as one line.
 */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { json, loopbackEnv, startBroker, startProcess } from './index.ts'
import { makePodNetwork, redirectTo } from './pod-network.ts'

const [, , directory = '', bundle = '', tokenFile = '', metadataFile = '', programs = ''] = process.argv

makePodNetwork()
const broker = await startBroker()
broker.metadata = json(JSON.parse(readFileSync(metadataFile, 'utf8')))
const workshop = { directory, bundle, tokenFile, remove: () => {} }
const sidecar = await startProcess(workshop, loopbackEnv(workshop, broker.url), { ready: true })
redirectTo(sidecar.port)
try {
  const lines: unknown[] = []
  for (const [command, ...args] of JSON.parse(programs)) {
    const { stdout } = await promisify(execFile)(command, args, { timeout: 60_000 })
    lines.push(JSON.parse(stdout))
  }
  console.log(JSON.stringify(lines))
} finally {
  await sidecar.end('SIGKILL')
  await broker.close()
}
