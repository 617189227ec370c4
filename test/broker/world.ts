/** A broker in this process, with the sandbox's API server and the sandbox's AWS, and pods that request credentials over TCP. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../../common/clock.ts'
import { CREDENTIAL_SOURCE_ENV, WEB_IDENTITY_AUDIENCE } from '../../common/credential-source.ts'
import { writeFirewallState } from '../../common/firewall-state.ts'
import { identityEnv, identityOfAnnotations } from '../../common/identity.ts'
import { KEYS, SIDECAR_CONTAINER } from '../../common/keys.ts'
import { kubeClient } from '../../common/kube/client.ts'
import { kubeconfigAccess } from '../../common/kube/kubeconfig.ts'
import { WEB_IDENTITY_HEADER } from '../../common/protocol.ts'
import { parseSettings } from '../../common/settings.ts'
import type { BrokerDeps } from '../../node-guard/broker/broker.ts'
import { imdsClient } from '../../node-guard/broker/instance/imds.ts'
import { type RunningBroker, startBroker } from '../../node-guard/broker/serve.ts'
import { BROKER_SETTINGS, type BrokerSettings } from '../../node-guard/broker/settings.ts'
import { Aws, type AwsOptions, trust, trustWebIdentity } from '../sandbox/aws/client.ts'
import { ApiServer, type KubeObject } from '../sandbox/kube/client/client.ts'
import { captureLog, type LogLine } from '../support/log.ts'
import { eventually } from '../support/until.ts'

export const NODE = 'node-1'

export type Answer = {
  readonly status: number
  readonly body: Record<string, string>
  readonly headers: Record<string, string | string[] | undefined>
}

export type PodOptions = {
  readonly role?: string
  readonly annotations?: Record<string, string>
  /** By default one address of this pod's own. */
  readonly podIPs?: readonly string[]
  readonly serviceAccount?: string
  readonly node?: string
  /** By default `Running`. */
  readonly phase?: string
  /** The node's address, as the kubelet reports it. */
  readonly hostIP?: string
  readonly hostNetwork?: boolean
  /** `false` for a pod without our sidecar. */
  readonly sidecar?: boolean
  /** The source in the sidecar's env, which needs a second token; by default the node's role. */
  readonly source?: 'web-identity'
  /** Spread into the sidecar's container. */
  readonly container?: object
}

export type TestPod = {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly ip: string
  readonly token: string
  /** The second token of a pod with the source `web-identity`. */
  readonly webIdentity?: string
}

/** The rights that the chart grants. Tests fail if the broker needs more. */
const RULES = [
  { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: [''], resources: ['namespaces'], verbs: ['get', 'list', 'watch'] },
  // The chart grants this with policy.serviceAccountRoles.
  { apiGroups: [''], resources: ['serviceaccounts'], verbs: ['get'] },
  { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create', 'patch'] },
]

let addresses = 0
/** Loopback addresses, each used once in this process. */
const nextAddress = () => {
  addresses++
  return `127.77.${Math.floor(addresses / 250)}.${(addresses % 250) + 1}`
}

export class World {
  readonly api: ApiServer
  readonly aws: Aws
  readonly directory: string
  readonly #log = captureLog()
  readonly logs: readonly LogLine[] = this.#log.lines
  /** Dependencies for brokers that are started from now on, instead of the usual ones. */
  deps: Partial<BrokerDeps> = {}
  readonly #brokers: RunningBroker[] = []
  #broker: RunningBroker | undefined
  #kubeconfig = ''

  private constructor(api: ApiServer, aws: Aws, directory: string) {
    this.api = api
    this.aws = aws
    this.directory = directory
  }

  /** @param aws settings of the stand-in for AWS */
  static async start(aws: AwsOptions = {}): Promise<World> {
    const directory = await mkdtemp(join(tmpdir(), 'p2b-'))
    const [api, stand] = await Promise.all([
      ApiServer.start({ directory: join(directory, 'k'), controllers: false }),
      Aws.start(aws),
    ])
    const world = new World(api, stand, directory)
    Object.assign(process.env, stand.environment(), { AWS_EC2_METADATA_V1_DISABLED: 'true' })
    await world.#grant()
    await world.guard()
    return world
  }

  async #grant(): Promise<void> {
    const { admin } = this.api
    await admin.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'pod2iam-system' } })
    const metadata = { name: 'broker', namespace: 'pod2iam-system' }
    await admin.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata })
    const rbac = { apiVersion: 'rbac.authorization.k8s.io/v1', metadata: { name: 'broker' } }
    await admin.create({ ...rbac, kind: 'ClusterRole', rules: RULES } as KubeObject)
    await admin.create({
      ...rbac,
      kind: 'ClusterRoleBinding',
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'broker' },
      subjects: [{ kind: 'ServiceAccount', ...metadata }],
    } as KubeObject)
    this.#kubeconfig = await this.api.kubeconfig()
    const config = JSON.parse(await readFile(this.#kubeconfig, 'utf8'))
    config.users[0].user = { tokenFile: 'broker-token' }
    await writeFile(this.#kubeconfig, JSON.stringify(config))
    await this.renewBrokerToken()
  }

  /** Replaces the broker's own token, as the kubelet does. */
  async renewBrokerToken(): Promise<void> {
    const { token } = await this.api.admin.createToken('pod2iam-system', 'broker')
    await writeFile(join(this.api.directory, 'broker-token'), token)
  }

  get kubeconfig(): string {
    return this.#kubeconfig
  }

  /** Writes a fresh firewall report. */
  guard(over: object = {}): Promise<void> {
    return writeFirewallState(join(this.directory, 'state'), {
      version: 1,
      mode: 'enforce',
      backend: 'nft',
      verified: true,
      verifiedAt: new Date().toISOString(),
      validSeconds: 600,
      ...over,
    })
  }

  #port = 0
  /** The port of brokers that are started from now on; by default any. */
  listenOn(port: number): void {
    this.#port = port
  }

  settings(...argv: string[]): BrokerSettings {
    const given = ['--node-name', NODE, '--listen', '127.0.0.1', '--state-dir', join(this.directory, 'state')]
    const result = parseSettings(BROKER_SETTINGS, { argv: [...given, ...argv], env: {} })
    if (!result.ok) throw new Error(result.errors.join('\n'))
    return { ...result.settings, port: this.#port, healthPort: 0 }
  }

  /** Starts a broker (instead of the one before) and waits until it is ready. */
  async broker(...argv: string[]): Promise<RunningBroker> {
    const broker = await this.brokerNotReady(...argv)
    await eventually('broker ready', () => broker.readiness().ready)
    return broker
  }

  async brokerNotReady(...argv: string[]): Promise<RunningBroker> {
    await this.#broker?.stop()
    const broker = startBroker(
      this.settings(...argv),
      {
        kube: kubeClient(await kubeconfigAccess(this.#kubeconfig), systemClock),
        imds: imdsClient(this.aws.imdsUrl, systemClock),
        clock: systemClock,
        log: this.#log.log,
        ...this.deps,
      },
      this.aws.config.region,
    )
    this.#brokers.push(broker)
    this.#broker = broker
    return broker
  }

  /** Creates a namespace, by default one that is opted in and allows every role. */
  async namespace(name: string, labels?: Record<string, string>, annotations?: Record<string, string>) {
    await this.api.admin.create({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: {
        name,
        labels: labels ?? { [KEYS.injection]: 'enabled' },
        annotations: annotations ?? { [KEYS.allowedRoles]: '["*"]' },
      },
    })
  }

  /** Creates a role that trusts the node. */
  role(name: string, over: Parameters<typeof trust>[0] | object = {}): Promise<string> {
    const trustPolicy = trust({ principal: this.aws.config.nodeRoleArn, ...over })
    return this.aws.putRole({ arn: name, trustPolicy })
  }

  /** Makes this cluster's issuer known to AWS, with its current keys. Returns the ARN of the provider. */
  async provider(over: object = {}): Promise<string> {
    const { body } = await this.api.admin.request('GET', '/openid/v1/jwks')
    const keys = { jwks: JSON.parse(body) }
    return this.aws.putOidcProvider({
      ...{ issuer: this.api.issuer, clientIds: [WEB_IDENTITY_AUDIENCE], keys },
      ...over,
    })
  }

  /** Creates a role that trusts a service account by web identity, and not the node. */
  async federatedRole(name: string, subject: string, over: object = {}): Promise<string> {
    const trustPolicy = trustWebIdentity({ provider: await this.provider(), subject })
    return this.aws.putRole({ arn: name, trustPolicy, ...over })
  }

  /** Creates a running pod as the injector does, and its projected token. */
  async pod(namespace: string, name: string, options: PodOptions = {}): Promise<TestPod> {
    const { role, serviceAccount = 'default', node = NODE, podIPs = [nextAddress()] } = options
    const { phase = 'Running', hostIP } = options
    const annotations = { ...(role === undefined ? {} : { [KEYS.role]: role }), ...options.annotations }
    const { admin } = this.api
    if (serviceAccount !== 'default')
      await admin.apply({
        apiVersion: 'v1',
        kind: 'ServiceAccount',
        metadata: { name: serviceAccount, namespace },
      })
    const created = await admin.create({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace, annotations },
      spec: {
        serviceAccountName: serviceAccount,
        nodeName: node,
        ...(options.hostNetwork ? { hostNetwork: true } : {}),
        ...this.containers(annotations, options),
      },
    } as KubeObject)
    const status = {
      ...(options.phase === undefined && podIPs.length === 0 ? {} : { phase }),
      ...(podIPs.length === 0 ? {} : { podIPs: podIPs.map((ip) => ({ ip })), podIP: podIPs[0] }),
      ...(hostIP === undefined ? {} : { hostIP, hostIPs: [{ ip: hostIP }] }),
    }
    if (Object.keys(status).length > 0)
      await admin.patch('pods', name, namespace, { status }, { type: 'strategic', subresource: 'status' })
    const uid = created.metadata.uid ?? ''
    const token = await this.token(namespace, serviceAccount, { name, uid })
    const pod = { namespace, name, uid, ip: podIPs[0] ?? '127.0.0.1', token }
    if (options.source === undefined) return pod
    return { ...pod, webIdentity: await this.token(namespace, serviceAccount, pod, WEB_IDENTITY_AUDIENCE) }
  }

  /** A pod's containers: the injector's sidecar, unless left out, and an app. */
  containers(annotations: Record<string, string>, options: PodOptions = {}) {
    const { source } = options
    const env = [
      ...identityEnv(identityOfAnnotations(annotations, KEYS.role)),
      ...(source === undefined ? [] : [{ name: CREDENTIAL_SOURCE_ENV, value: source }]),
    ]
    const sidecar = {
      name: SIDECAR_CONTAINER,
      image: 'sidecar',
      restartPolicy: 'Always',
      env,
      ...options.container,
    }
    return {
      initContainers: options.sidecar === false ? [] : [sidecar],
      containers: [{ name: 'app', image: 'app' }],
    }
  }

  async token(
    namespace: string,
    serviceAccount: string,
    pod?: { name: string; uid: string },
    audience = 'pod2iam',
  ) {
    const bound = pod === undefined ? {} : { pod }
    return (await this.api.admin.createToken(namespace, serviceAccount, { audiences: [audience], ...bound }))
      .token
  }

  /**
   * Sends a request to the broker as a pod does. It is repeated while too many pods of the namespace ask before the
   * watch has reported them, which happens late on a busy machine.
   */
  async ask(pod: Pick<TestPod, 'ip' | 'token' | 'webIdentity'>, path = '/v1/credentials'): Promise<Answer> {
    const headers = {
      authorization: `Bearer ${pod.token}`,
      ...(pod.webIdentity === undefined ? {} : { [WEB_IDENTITY_HEADER]: pod.webIdentity }),
    }
    for (const end = Date.now() + 120_000; ; await sleep(200)) {
      const answer = await this.request(path, { localAddress: pod.ip, headers })
      if (!answer.body.detail?.startsWith('too many pods are asking') || Date.now() > end) return answer
    }
  }

  request(path: string, options: object = {}): Promise<Answer> {
    const port = this.#broker?.addresses()[0]?.port
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    const outgoing = request(
      { host: '127.0.0.1', port, path, agent: false, timeout: 60_000, ...options },
      async (response) => {
        let text = ''
        for await (const chunk of response) text += chunk
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: text ? JSON.parse(text) : {},
        })
      },
    )
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in a minute')))
    outgoing.on('error', reject)
    outgoing.end()
    return promise
  }

  /** `code` of a refusal, or `ok`. */
  async code(pod: Pick<TestPod, 'ip' | 'token' | 'webIdentity'>): Promise<string> {
    const { status, body } = await this.ask(pod)
    return status === 200 ? 'ok' : (body.code ?? `status ${status}`)
  }

  async metrics(): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const port = this.#broker?.healthAddress()?.port
    request({ host: '127.0.0.1', port, path: '/metrics', agent: false }, async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      resolve(text)
    })
      .on('error', reject)
      .end()
    return promise
  }

  async stop(): Promise<void> {
    await Promise.all(this.#brokers.map((broker) => broker.stop()))
    await Promise.all([this.api.stop(), this.aws.stop()])
    await rm(this.directory, { recursive: true, force: true })
  }
}
