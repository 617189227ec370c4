/**
 * The sandbox's API server as one process. Reads its configuration as one line of JSON from stdin, prints one line
 * when it is ready, and ends when stdin ends: it cannot outlive the test that started it.
 */
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { createAdmission } from '../admission/admission.ts'
import { admissionPolicies, type Judged } from '../admission/admission-policies.ts'
import type { Caller } from '../admission/admission-request.ts'
import { inTreePlugins } from '../admission/plugins.ts'
import { podSecurity } from '../admission/pod-security.ts'
import { createWebhookCaller } from '../admission/webhook-call.ts'
import { mutatingWebhooks, validatingWebhooks } from '../admission/webhooks.ts'
import { SigningKeys } from '../auth/signing-keys.ts'
import { Tokens } from '../auth/tokens.ts'
import { startControllers } from '../controllers/controllers.ts'
import { keepNamespaces } from '../controllers/namespaces.ts'
import { resourceByKind } from '../objects/resources.ts'
import { Store } from '../objects/store.ts'
import { BOOTSTRAP } from './bootstrap.ts'
import { serveControl } from './control.ts'
import { Faults } from './faults.ts'
import { createResourceHandler } from './handlers.ts'
import { openListeners } from './listeners.ts'
import { Operations } from './operations.ts'
import { API_SOCKET, CONTROL_SOCKET, type Ready, type ServerConfig } from './protocol.ts'
import { type Call, createHandler } from './routes.ts'
import { createUpgradeHandler } from './streams.ts'
import { createWatches } from './watch.ts'

const SYSTEM = { username: 'system:apiserver', groups: ['system:masters'] }

async function serve(config: ServerConfig): Promise<Ready> {
  let { clockOffsetMs } = config
  const now = () => Date.now() + clockOffsetMs
  const keys = await SigningKeys.create()
  const store = new Store()
  const tokens = new Tokens(store, keys, { issuer: config.issuer, apiAudiences: config.apiAudiences, now })
  const watches = createWatches(store, config.bookmarkMs)
  const faults = new Faults()
  const calls: Call[] = []
  const judged: Judged[] = []
  const webhookCaller = createWebhookCaller(store, now)
  const admission = createAdmission(inTreePlugins(store), mutatingWebhooks(store, webhookCaller), [
    podSecurity(store),
    admissionPolicies(store, judged),
    validatingWebhooks(store, webhookCaller),
  ])
  const operations = new Operations(store, admission, now)
  const caller: Caller = {
    user: SYSTEM,
    dryRun: false,
    fieldValidation: 'Ignore',
    warn: () => {},
    audit: () => {},
  }
  keepNamespaces(store, config.caPem, now)
  for (const object of BOOTSTRAP) {
    const resource = resourceByKind(object.apiVersion, object.kind)
    if (resource === undefined) throw new Error(`There is no resource for ${object.kind}.`)
    await operations.create({ resource, namespace: undefined }, object, caller)
  }
  if (config.controllers) startControllers({ store, operations, now })
  const resources = createResourceHandler({
    ...{ store, operations, tokens, watches },
    directory: config.directory,
  })
  const parts = { store, tokens, keys, faults, adminToken: config.adminToken, resources, calls }
  const listeners = await openListeners(
    { cert: config.certPem, key: config.keyPem },
    config.listen,
    join(config.directory, API_SOCKET),
    createHandler(parts, true),
    createHandler(parts, false),
    createUpgradeHandler(parts, operations, config.directory),
  )
  await serveControl(join(config.directory, CONTROL_SOCKET), {
    store,
    watches,
    faults,
    keys,
    listeners,
    calls,
    judged,
    setClockOffset: (milliseconds) => {
      clockOffsetMs = milliseconds
    },
  })
  return { listen: listeners.addresses }
}

const lines = createInterface({ input: process.stdin })
lines.once('line', async (line) => {
  try {
    process.stdout.write(`${JSON.stringify(await serve(JSON.parse(line) as ServerConfig))}\n`)
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.stack : error}\n`)
    process.exit(1)
  }
})
lines.once('close', () => process.exit(0))
