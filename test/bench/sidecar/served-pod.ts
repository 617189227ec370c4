/**
 * Runs in a pod's network namespace: a sidecar with a broker of its own, and the redirect that leads the pod's requests to it. Prints a
 * line once it serves credentials, and ends when its standard input does.
 */
import { startBroker } from '../../sidecar/support/index.ts'
import { redirectTo } from '../../sidecar/support/pod-network.ts'
import { firstDocument, spawnSidecar } from './process.ts'

const [, , directory = '', bundle = '', tokenFile = ''] = process.argv
const broker = await startBroker()
const workshop = { directory, bundle, tokenFile, remove: () => {} }
const sidecar = await spawnSidecar({ workshop, brokerUrl: broker.url })
process.stdin.resume().once('end', async () => {
  await sidecar.end()
  process.exit(0)
})
await firstDocument(sidecar)
redirectTo(sidecar.port)
console.log('ready')
