/**
 * amazon-ec2-metadata-mock, which AWS publishes, compared with the table of request shapes: it answers as the table says
 * of EC2, except where it is known to be wrong. So the table does not depend on our knowledge alone.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { needsPeer, peer } from '../peers/peers.ts'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import { SHAPES, type Shape } from './shapes/index.ts'
import { ask, send } from './support/index.ts'

const MOCK = 'ec2-metadata-mock'

/** Where the mock differs from EC2, whose answers are in the table. */
const DEVIATIONS: Readonly<Record<string, number>> = {
  // Go's HTTP server requires a Host.
  'no Host, HTTP/1.1 (aws-c-auth before 0.6.29)': 400,
  'no Host, the list': 400,
  'no Host, a token (aws-c-auth before 0.6.29)': 400,
  'no Host, HEAD': 400,
  // The mock has no rule for proxies.
  'X-Forwarded-For': 200,
  'X-Forwarded-For with the metadata address': 200,
  'an empty X-Forwarded-For': 200,
  'x-forwarded-for in lower case': 200,
  // Its router removes trailing slashes, redirects doubled ones, has no versions and ignores methods.
  'a trailing slash': 200,
  'a dated version': 404,
  'a doubled slash (Java with an endpoint that ends in one)': 301,
  'doubled slashes (Java)': 301,
  'a dated version (cloud-init)': 404,
  'version 1.0': 404,
  'GET of the token path': 200,
  'POST of the token path': 200,
  POST: 200,
  PUT: 200,
  DELETE: 200,
  // With IMDSv1 allowed it ignores tokens.
  'an invalid token': 200,
  'a token of another instance': 200,
}

const known = Object.values(SHAPES)
  .flat()
  .filter(({ source, what }) => source !== 'unpublished' || what.endsWith('(as the mock)'))

describe('the metadata mock of AWS', needsPeer(MOCK), () => {
  const home = mkdtempSync(join(tmpdir(), 'metadata-mock-'))
  let port: number
  let mock: ChildProcess

  before(async () => {
    port = await freePort()
    mock = spawn(peer(MOCK) ?? '', ['--hostname', '127.0.0.1', '--port', String(port)], {
      env: { HOME: home },
      stdio: 'ignore',
    })
    await until('it answers', () => ask(port, { path: '/latest' }).catch(() => undefined))
  })
  after(() => {
    mock?.kill()
    rmSync(home, { recursive: true })
  })

  const statusOf = async ({ send: bytes }: Shape) => {
    const text = await send(port, bytes, { halfClose: true })
    const statuses = [...text.matchAll(/^HTTP\/1\.\d (\d{3}) /gm)].map(([, status]) => Number(status))
    return statuses.find((status) => status >= 200)
  }

  for (const shape of known)
    test(`answers ${shape.what} ${shape.what in DEVIATIONS ? 'with its known deviation' : 'like EC2'}`, async () => {
      const ec2 = shape.ec2 === 'unpublished' ? shape.ours : shape.ec2
      assert.equal(await statusOf(shape), DEVIATIONS[shape.what] ?? ec2)
    })
})

test('every deviation of the mock is from a known answer of EC2', () => {
  const names = new Map(known.map((shape) => [shape.what, shape]))
  for (const [what, status] of Object.entries(DEVIATIONS))
    assert.notEqual(names.get(what)?.ec2 ?? status, status, what)
})
