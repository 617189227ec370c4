/** `node dist/broker.cjs`: the broker of one node. */
import { setFlagsFromString } from 'node:v8'
import { systemClock } from '../../common/clock.ts'
import { messageOf } from '../../common/errors.ts'
import { inClusterAccess } from '../../common/kube/access.ts'
import { kubeClient } from '../../common/kube/client.ts'
import { onTerminate } from '../../common/lifecycle.ts'
import { pinoLogger } from '../../common/pino-log.ts'
import { settingsOrExit } from '../../common/settings.ts'
import { VERSION } from '../../common/version.ts'
import { imdsClient, imdsEndpoint } from './instance/imds.ts'
import { startBroker } from './serve.ts'
import { ANSWERING_MS } from './server/shutdown.ts'
import { BROKER_SETTINGS, conflicts } from './settings.ts'

const TITLE = 'pod2iam broker'

async function main(): Promise<void> {
  const settings = settingsOrExit(TITLE, BROKER_SETTINGS)
  const errors = conflicts(settings)
  if (errors.length > 0) leave(errors)

  const access = await (async () => {
    try {
      if (!settings.kubeconfig) return inClusterAccess(process.env)
      const { kubeconfigAccess } = await import('../../common/kube/kubeconfig.ts')
      return await kubeconfigAccess(settings.kubeconfig)
    } catch (error) {
      return leave([`${messageOf(error)}.`])
    }
  })()
  const endpoint = imdsEndpoint(settings.imdsEndpoint, process.env)
  // The SDK's credential chain reads only its environment; it must never fall back to version 1.
  process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT = endpoint
  process.env.AWS_EC2_METADATA_V1_DISABLED = 'true'

  const log = pinoLogger('broker', settings.logLevel)
  const deps = {
    kube: kubeClient(access, systemClock, { userAgent: 'pod2iam-broker' }),
    imds: imdsClient(endpoint, systemClock),
    clock: systemClock,
    log,
  }
  log.info('starting', { version: VERSION, node: settings.nodeName })
  const broker = startBroker(settings, deps, process.env.AWS_REGION || process.env.AWS_DEFAULT_REGION)
  onTerminate(broker.stop, ANSWERING_MS + 500)
  disableOptimizingCompilers()
}

/**
 * Most of the memory of a loaded broker is machine code and data of V8's optimizing compilers: 36 MiB without them, 75 with
 * them after 20,000 requests (README.md). Without them it handles two thousand requests per second, and a node has one in ten seconds.
 */
function disableOptimizingCompilers(): void {
  setFlagsFromString('--no-opt')
  setFlagsFromString('--no-maglev')
}

function leave(errors: readonly string[]): never {
  process.stderr.write(errors.map((error) => `${TITLE}: ${error}\n`).join(''))
  process.exit(2)
}

main().catch((error) => {
  process.stderr.write(`${TITLE}: ${messageOf(error)}\n`)
  process.exit(1)
})
