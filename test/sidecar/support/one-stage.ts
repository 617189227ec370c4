/**
 * Runs in a network namespace of its own (`unshare --net`): the built sidecar as in a pod that starts in one stage, first
 * with nothing at the metadata addresses, then with a block. Prints the results as one JSON line.
 */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { until } from '../../support/until.ts'
import { json, loopbackEnv, readyz, startBroker, startProcess } from './index.ts'
import { makePodNetwork } from './pod-network.ts'

const [, , directory = '', bundle = '', tokenFile = ''] = process.argv
const workshop = { directory, bundle, tokenFile, remove: () => {} }
const file = join(directory, 'started')

makePodNetwork()
const broker = await startBroker()
const env = {
  ...loopbackEnv(workshop, broker.url),
  POD2IAM_PROOF: 'enforce',
  POD2IAM_STARTED_FILE: file,
}

/** Refuses connections as the guard does, but in the pod's own namespace: the effect in the pod is the same. */
function refuse(): void {
  execFileSync('nft', ['-f', '-'], {
    input: `table inet guard {
      chain output {
        type filter hook output priority 0;
        ip daddr 169.254.169.254 tcp dport 80 reject with tcp reset
        ip6 daddr fd00:ec2::254 tcp dport 80 reject with tcp reset
      }
    }`,
  })
}

const first = await startProcess(workshop, env)
await until('credentials', () => first.logs.some(({ msg }) => msg === 'credentials obtained'))
const open = { code: (await readyz(first.healthPort)).code, started: existsSync(file) }
refuse()
await until('it is ready', async () => (await readyz(first.healthPort)).ready)
await until('the file exists', () => existsSync(file))
const proven = first.logs.some(({ msg }) => msg === 'block proven')
await first.end('SIGKILL')

// The sidecar is restarted beside a running application: the block is not checked again.
execFileSync('nft', ['flush', 'ruleset'])
const again = await startProcess(workshop, env, { ready: true })
await again.end('SIGKILL')

// A pod that is deleted before it could start.
broker.pod = json({ terminating: true })
const leaving = await startProcess(workshop, { ...env, POD2IAM_STARTED_FILE: join(directory, 'never') })
const code = await new Promise((done) => leaving.child.once('exit', done))
console.log(JSON.stringify({ open, proven, code }))
await broker.close()
