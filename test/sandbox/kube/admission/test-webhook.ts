/** A real HTTPS admission webhook in the test process, whose answers the test sets. */
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { eventually } from '../../../support/until.ts'
import { type ApiServer, isStandIn, type KubeObject } from '../client/client.ts'
import { type JsonObject, listAt } from '../objects/objects.ts'
import { isApiError } from '../objects/status.ts'

type Review = {
  readonly path: string
  readonly request: JsonObject & { uid: string; object: KubeObject }
}
/** A response without uid, or raw text to send. */
type Reply = JsonObject | { readonly raw: string; readonly status?: number } | 'hang' | 'reset'

export type TestWebhook = {
  readonly port: number
  readonly url: string
  readonly caBundle: string
  readonly reviews: Review[]
  readonly connections: () => number
  reply(answer: Reply | ((review: Review) => Reply)): void
  close(): Promise<void>
}

export const allow = { allowed: true }

/** An allowing response with a JSON patch. */
export function patching(...operations: object[]): JsonObject {
  const patch = Buffer.from(JSON.stringify(operations)).toString('base64')
  return { allowed: true, patchType: 'JSONPatch', patch }
}

/** @param dnsNames of the serving certificate, which also has 127.0.0.1 */
export async function testWebhook(
  api: ApiServer,
  dnsNames: string[] = ['hook.test.svc'],
): Promise<TestWebhook> {
  const { certPem, keyPem } = await api.issueCertificate(dnsNames, ['127.0.0.1'])
  const reviews: Review[] = []
  let answer: Reply | ((review: Review) => Reply) = allow
  let connections = 0
  const server: Server = createServer({ cert: certPem, key: keyPem }, async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const body = JSON.parse(Buffer.concat(chunks).toString('utf8')) as Omit<Review, 'path'>
    const review = { ...body, path: request.url ?? '' }
    reviews.push(review)
    const reply = typeof answer === 'function' ? answer(review) : answer
    if (reply === 'hang') return
    if (reply === 'reset') {
      request.socket.destroy()
      return
    }
    if (typeof reply.raw === 'string') {
      response.statusCode = typeof reply.status === 'number' ? reply.status : 200
      response.end(reply.raw)
      return
    }
    const out = {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: { uid: review.request.uid, ...reply },
    }
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(out))
  })
  server.on('connection', () => connections++)
  await new Promise<void>((resolve) => server.listen(0, resolve))
  const { port } = server.address() as AddressInfo
  return {
    port,
    url: `https://127.0.0.1:${port}/mutate`,
    caBundle: Buffer.from(api.caPem).toString('base64'),
    reviews,
    connections: () => connections,
    reply(next) {
      answer = next
    },
    close() {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

/** A configuration with one entry for pods of namespaces labelled `hook: <name>`. */
export function configuration(
  kind: 'MutatingWebhookConfiguration' | 'ValidatingWebhookConfiguration',
  name: string,
  clientConfig: JsonObject,
  more: JsonObject = {},
): KubeObject {
  return {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind,
    metadata: { name },
    webhooks: [
      {
        name: `${name}.pod2iam.dev`,
        admissionReviewVersions: ['v1'],
        sideEffects: 'None',
        timeoutSeconds: 5,
        clientConfig,
        rules: [
          {
            operations: ['CREATE'],
            apiGroups: [''],
            apiVersions: ['v1'],
            resources: ['pods'],
            scope: 'Namespaced',
          },
        ],
        namespaceSelector: { matchLabels: { hook: name } },
        ...more,
      },
    ],
  }
}

/**
 * Creates a webhook configuration and waits until it is in force: a real API server receives it through a watch.
 * The configuration gets an additional entry that nobody serves, for one ConfigMap, whose refusal shows that it is in force.
 */
export async function register({ admin }: ApiServer, config: KubeObject): Promise<void> {
  if (isStandIn()) return void (await admin.create(config))
  const name = config.metadata.name ?? ''
  const probe = {
    name: `probe.${name}.pod2iam.dev`,
    admissionReviewVersions: ['v1'],
    sideEffects: 'None',
    clientConfig: { url: 'https://127.0.0.1:1/probe' },
    rules: [{ operations: ['CREATE'], apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'] }],
    matchConditions: [{ name: 'probe', expression: `object.metadata.name == 'probe-${name}'` }],
  }
  await admin.create({ ...config, webhooks: [...listAt(config, 'webhooks'), probe] })
  await eventually(`${name} to be in force`, () => isInForce(admin, name))
}

/** Deletes a webhook configuration and waits until its webhooks are no longer called. */
export async function unregister({ admin }: ApiServer, plural: string, name: string): Promise<void> {
  await admin.delete(plural, name).catch((error: unknown) => {
    if (!isApiError(error, 404)) throw error
  })
  if (!isStandIn()) await eventually(`the end of ${name}`, async () => !(await isInForce(admin, name)))
}

async function isInForce(admin: ApiServer['admin'], name: string): Promise<boolean> {
  const metadata = { name: `probe-${name}`, namespace: 'default' }
  try {
    await admin.create({ apiVersion: 'v1', kind: 'ConfigMap', metadata }, { dryRun: true })
    return false
  } catch (error) {
    if (isApiError(error, 500) && error.message.includes(`probe.${name}.pod2iam.dev`)) return true
    throw error
  }
}
