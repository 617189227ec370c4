/** Control of the stand-in: JSON over HTTP on a unix socket that only its owner may open. */
import { createServer, type Server } from 'node:http'
import { readBody } from './exchange.ts'
import type {
  Fault,
  ImdsSettings,
  ManagedPolicyInput,
  OidcProviderInput,
  RoleInput,
  Statement,
  StsSettings,
  UserInput,
} from './model.ts'
import type { World } from './world.ts'

/** Operation → its argument and its result: the contract between client and process. */
export type Operations = typeof operations extends (world: World) => infer T ? T : never

const operations = (world: World) => ({
  putRole: (input: RoleInput) => {
    const { arn, id } = world.iam.putRole(input)
    return { arn, id }
  },
  deleteRole: ({ arn }: { arn: string }) => world.iam.deleteRole(arn),
  putOidcProvider: (input: OidcProviderInput) => ({ arn: world.iam.putOidcProvider(input).arn }),
  putManagedPolicy: (input: ManagedPolicyInput) => world.iam.putManagedPolicy(input),
  deleteOidcProvider: ({ arn }: { arn: string }) => world.iam.deleteOidcProvider(arn),
  putUser: (input: UserInput) => world.iam.putUser(input),
  setNodePolicy: ({ statements }: { statements: readonly Statement[] }) => world.setNodePolicy(statements),
  setImds: (changes: Partial<ImdsSettings>) => world.setImds(changes),
  setSts: (changes: Partial<StsSettings>) => world.setSts(changes),
  setClockOffset: ({ milliseconds }: { milliseconds: number }) => world.setClockOffset(milliseconds),
  rotateNodeCredentials: ({ expireOld }: { expireOld: boolean }) => {
    if (expireOld) world.node.expire()
    return { accessKeyId: world.node.rotate().accessKeyId }
  },
  attachInstanceProfile: ({ role }: { role: string }) => {
    world.node.attach(role)
  },
  expireSessions: (match: { accessKeyId?: string; role?: string }) => ({
    count: world.iam.expire(match, world.now()),
  }),
  fault: (fault: Fault) => ({ id: world.faults.add(fault) }),
  clearFaults: ({ id }: { id?: string }) => world.faults.clear(id),
  calls: () => world.calls.list(),
  counts: () => world.counts.counts(),
  sessions: () => world.iam.sessions(),
  imdsRequests: () => world.imdsRequests.list(),
  imdsConnections: () => Object.fromEntries(world.imdsConnections),
  clearRecords: () => world.clearRecords(),
  reset: () => world.reset(),
})

/** A control server for this world; the caller makes it listen. `stop` ends the process. */
export function createControlServer(world: World, stop: () => void): Server {
  const table = new Map<string, (argument: never) => unknown>(Object.entries(operations(world)))
  // No idle connection is closed, because the client's next call might be in transit on it.
  return createServer({ keepAliveTimeout: 0 }, async (request, response) => {
    const name = (request.url ?? '/').slice(1)
    const answer = (status: number, body: unknown) => {
      const text = JSON.stringify(body ?? null)
      response.writeHead(status, { 'content-type': 'application/json' }).end(text)
    }
    try {
      const body = await readBody(request)
      if (name === 'stop') {
        response.once('close', stop)
        return answer(200, null)
      }
      const operation = table.get(name)
      if (!operation || !body) return answer(404, { error: `there is no operation "${name}"` })
      // The same table gives the client its types; the operations check the content of policies and faults.
      answer(200, operation(JSON.parse(body.toString() || '{}') as never))
    } catch (error) {
      answer(400, { error: error instanceof Error ? error.message : String(error) })
    }
  })
}
