/** A real API server in place of the stand-in: it has the same methods, as far as a real one can do what they do. */
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { KEYS } from '../../../common/keys.ts'
import { freePort } from '../../support/free-port.ts'
import { type Authority, createAuthority } from '../kube/client/certificates.ts'
import { ApiServer, type ApiServerOptions, DEFAULT_ISSUER, DNS_NAMES } from '../kube/client/client.ts'
import { API_SOCKET, type ControlCommand, type ServerConfig } from '../kube/server/protocol.ts'
import { AuditLog } from './audit.ts'
import { type ControlPlane, startControlPlane } from './control-plane.ts'
import { writeCredentials } from './credentials.ts'
import { forgetHistory } from './etcd.ts'
import { PatientClient } from './patient-client.ts'
import { sweep } from './sweep.ts'

export class RealApiServer extends ApiServer {
  /** Whether the next suite continues to use it: then `stop` only removes what was created. */
  shared = false
  readonly #plane: ControlPlane
  readonly #audit: AuditLog

  private constructor(
    plane: ControlPlane,
    config: Pick<ServerConfig, 'directory' | 'adminToken' | 'issuer' | 'listen'>,
    authority: Authority,
  ) {
    super(plane.api.child, config, { listen: config.listen }, authority)
    this.#plane = plane
    this.#audit = new AuditLog(join(this.directory, 'audit.log'), this.admin)
  }

  /** @throws Error with the last output of the program that did not start */
  static override async start(options: ApiServerOptions): Promise<RealApiServer> {
    const { directory, spawn, issuer = DEFAULT_ISSUER } = options
    await mkdir(directory, { recursive: true })
    const wanted = options.listen ?? [{ host: '127.0.0.1', port: 0 }]
    const listen = await Promise.all(
      wanted.map(async ({ host, port }) => ({ host, port: port === 0 ? await freePort() : port })),
    )
    const authority = await createAuthority('pod2iam sandbox CA')
    const hosts = listen.map(({ host }) => host).filter((host) => isIP(host) !== 0)
    const ips = [...new Set(['127.0.0.1', '::1', ...hosts, ...(options.ips ?? [])])]
    const names = [...DNS_NAMES, ...(options.dnsNames ?? [])]
    const credentials = await writeCredentials(directory, authority, names, ips, listen)
    const inNamespace = spawn === undefined ? {} : { spawn }
    const plane = await startControlPlane({ directory, listen, issuer, credentials, ...inNamespace })
    const { adminToken } = credentials
    const server = new RealApiServer(plane, { directory, adminToken, issuer, listen }, authority)
    try {
      await server.#admin().settled('default')
      return server
    } catch (error) {
      await server.end()
      throw new Error(plane.ended() ?? 'The controllers do nothing.', { cause: error })
    }
  }

  #admin(): PatientClient {
    return this.admin as PatientClient
  }

  /** Through the relay if there is one, otherwise over TCP. */
  override unixClient(token: string | undefined): PatientClient {
    const { hostname, port } = new URL(this.url())
    const socketPath = join(this.directory, API_SOCKET)
    const place = existsSync(socketPath) ? { socketPath } : { host: hostname, port: Number(port) }
    return new PatientClient({ ...place, caPem: this.caPem, token: () => token })
  }

  /** @throws Error for what cannot be done to a real API server */
  protected override async control<T>(command: ControlCommand): Promise<T> {
    switch (command.command) {
      case 'calls':
        return (await this.#audit.calls(command.clear)) as T
      case 'restart':
        return (await this.#plane.restartApi(command.downMs)) as T
      case 'compact':
        await forgetHistory(this.#plane, this.admin)
        return undefined as T
      default:
        throw new Error(`A real API server knows no ${command.command}.`)
    }
  }

  /** Waits, because a pod is ready before this server's own list of endpoints has it, and refuses requests in between. */
  override async webhooksReached(): Promise<void> {
    await this.#admin().reachesWebhooks(
      { [KEYS.injection]: 'enabled' },
      { [KEYS.role]: 'arn:aws:iam::111111111111:role/probe' },
    )
  }

  override async stop(): Promise<void> {
    this.admin.close()
    if (this.shared) await sweep(this)
    else await this.end()
  }

  /** Ends the processes, even if several suites share them. */
  async end(): Promise<void> {
    this.admin.close()
    await this.#plane.stop()
  }
}
