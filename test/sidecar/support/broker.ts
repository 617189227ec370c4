/** A small broker over real HTTP, whose answers the test chooses. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import {
  CREDENTIALS_PATH,
  type CredentialsBody,
  imdsTime,
  METADATA_PATH,
  POD_PATH,
  Problem,
  type ProblemCode,
} from '../../../common/protocol.ts'
import { listening } from '../../support/listening.ts'

export type Answer = (request: IncomingMessage, response: ServerResponse) => void

export type TestBroker = {
  readonly url: string
  /** How credentials are answered from now on. */
  credentials: Answer
  metadata: Answer
  /** Its answer about the pod itself; by default that of a broker of 0.1.0. */
  pod: Answer
  /** Paths and bearer tokens of all requests so far. */
  readonly asked: { path: string; authorization: string | undefined }[]
  readonly close: () => Promise<void>
}

export const ROLE_ARN = 'arn:aws:iam::111111111111:role/team/reader'

/** A valid body. `now` and `life` are in milliseconds. */
export function credentialsBody(
  changes: Partial<CredentialsBody> = {},
  now = Date.now(),
  life = 3_600_000,
): CredentialsBody {
  return {
    Code: 'Success',
    AccessKeyId: 'ASIAIOSFODNN7EXAMPLE',
    SecretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
    Token: 'IQoJb3JpZ2luX2VjEXAMPLE==',
    Expiration: imdsTime(now + life),
    LastUpdated: imdsTime(now),
    AccountId: '111111111111',
    Role: 'team/reader',
    RoleArn: ROLE_ARN,
    ...changes,
  }
}

export const METADATA = {
  'placement/region': 'eu-west-1',
  'placement/availability-zone': 'eu-west-1b',
  'placement/availability-zone-id': 'euw1-az2',
  'instance-id': 'i-0123456789abcdef0',
  'instance-type': 'm7i.large',
  'local-ipv4': '10.0.0.10',
  mac: '0e:00:00:00:00:01',
  'network/interfaces/macs/0e:00:00:00:00:01/vpc-id': 'vpc-0123',
  'network/interfaces/macs/0e:00:00:00:00:01/subnet-id': 'subnet-0123',
  'services/domain': 'amazonaws.com',
  'services/partition': 'aws',
  'dynamic/instance-identity/document': '{\n  "region" : "eu-west-1",\n  "billingProducts" : null\n}',
} as const

export function json(value: unknown, headers: Record<string, string> = {}): Answer {
  return (_request, response) => {
    response.writeHead(200, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(value))
  }
}

export function problem(code: ProblemCode, detail: string, headers: Record<string, string> = {}): Answer {
  return (_request, response) => {
    const { status } = new Problem(code, detail)
    const body = JSON.stringify(new Problem(code, detail).toBody())
    response.writeHead(status, { 'Content-Type': 'application/problem+json', ...headers }).end(body)
  }
}

const notFound: Answer = (_request, response) => void response.writeHead(404).end()

/** Starts a broker on 127.0.0.1; with `port` 0 the system chooses the port. */
export async function startBroker(port = 0): Promise<TestBroker> {
  const server = createServer((request, response) => {
    broker.asked.push({ path: request.url ?? '', authorization: request.headers.authorization })
    if (request.url === CREDENTIALS_PATH) broker.credentials(request, response)
    else if (request.url === METADATA_PATH) broker.metadata(request, response)
    else if (request.url === POD_PATH) broker.pod(request, response)
    else notFound(request, response)
  })
  const bound = await listening(server, port)
  const broker: TestBroker = {
    url: `http://127.0.0.1:${bound}`,
    credentials: (request, response) => json(credentialsBody())(request, response),
    metadata: json(METADATA),
    pod: notFound,
    asked: [],
    close: () =>
      new Promise((done) => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
  return broker
}
