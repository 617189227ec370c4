/**
 * Every answer of one release's broker, byte by byte, to the sidecar of the other: what the sidecar reports and what the
 * application gets. Answers of the previous release are recorded, and those of this one come from the serving code.
 */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { imdsTime, PROBLEMS } from '../../common/protocol.ts'
import { VERSION } from '../../common/version.ts'
import { brokerAnswers, RELEASE, sidecarRequests } from '../previous-release/recorded.ts'
import {
  brokerAnswers as answersOf,
  type RawAnswer,
  sidecarRequests as requestsOf,
} from '../previous-release/wire.ts'
import { ask, type RawAnswer as HttpAnswer } from '../sidecar/support/raw.ts'
import { listening } from '../support/listening.ts'
import { until } from '../support/until.ts'
import { admitted, containerOf } from './admitted.ts'
import { startSidecar } from './processes.ts'
import { CROSSED, openReleases, type Releases, type Side } from './releases.ts'

const PROJECT = join(import.meta.dirname, '../..')
const LIST = '/latest/meta-data/iam/security-credentials/'

/** Codes that the previous release does not know. Its sidecar treats them as temporary, and logs the status. */
const UNKNOWN_TO_PREVIOUS: ReadonlySet<string> = new Set(['protocol-not-spoken'])

/** Makes recorded credentials valid now. Both times keep their length, so that the length of the answer is unchanged. */
const fresh = (raw: string) =>
  raw
    .replace(/("Expiration":")[^"]*/, `$1${imdsTime(Date.now() + 3_600_000)}`)
    .replace(/("LastUpdated":")[^"]*/, `$1${imdsTime(Date.now())}`)

/** Whether the sidecar is ready, the code of `/readyz`, and what the application gets. */
function shownFor(to: string, code: string): readonly [boolean, string, string] {
  switch (PROBLEMS[to as keyof typeof PROBLEMS].meaning) {
    case 'none':
      return [true, 'ready', 'no role']
    case 'refused':
      return [false, code, 'AssumeRoleUnauthorizedAccess']
    case 'retry':
      return [false, code, 'not now']
  }
}

function appSees(list: HttpAnswer, document: HttpAnswer): string {
  if (list.status === 404) return 'no role'
  return document.status === 503 ? 'not now' : JSON.parse(document.body).Code
}

describe('between neighbouring releases', () => {
  let releases: Releases
  let directory: string
  let ofThis: readonly RawAnswer[]
  const servers: Server[] = []

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'pod2iam-answers-'))
    ;[releases, ofThis] = await Promise.all([openReleases('sidecar'), answersOf(PROJECT)])
  })
  after(async () => {
    for (const server of servers) server.close()
    releases?.remove()
    await rm(directory, { recursive: true, force: true })
  })

  const answers = (side: Side) => (side === 'previous' ? brokerAnswers() : ofThis)
  const answer = (side: Side, to: string): string => {
    const found = answers(side).find((one) => one.to === to)
    assert.ok(found, `${side} has an answer to ${to}`)
    return found.raw
  }
  /** A server that gives these bytes to every request for credentials, and the release's own metadata to others. */
  const replay = async (credentials: string, metadata: string): Promise<string> => {
    const server = createServer((socket) => {
      let text = ''
      socket.on('error', () => {})
      socket.setEncoding('latin1').on('data', (chunk: string) => {
        text += chunk
        if (text.includes('\r\n\r\n'))
          socket.end(text.startsWith('GET /v1/metadata') ? metadata : credentials)
      })
    })
    servers.push(server)
    return `http://127.0.0.1:${await listening(server)}`
  }
  /** Starts a sidecar and waits for its first request. Gives its readiness, its answers to the application and its log. */
  const atStart = async (side: Side, brokerUrl: string) => {
    const container = containerOf(admitted(side, 'defaults'), 'pod2iam-sidecar')
    const sidecar = await startSidecar(releases, side, container, { directory, token: 'a.b.c', brokerUrl })
    try {
      const { ready, code, detail } = await until('the first request is answered', async () => {
        const readiness = await sidecar.readyz()
        return ['starting', 'metadata-pending', 'warming-up'].includes(readiness.code) ? undefined : readiness
      })
      const list = await ask(sidecar.port, { path: LIST })
      const name = list.status === 200 ? list.body : 'orders'
      const document = await ask(sidecar.port, { path: LIST + name })
      return { ready, code, detail, list, document, logs: sidecar.logs }
    } finally {
      sidecar.child.kill('SIGKILL')
    }
  }

  for (const [ofSidecar, ofBroker] of CROSSED) {
    test(`credentials of ${ofBroker} release are served by the sidecar of ${ofSidecar} release`, async () => {
      const url = await replay(fresh(answer(ofBroker, 'success')), answer(ofBroker, 'metadata'))
      const { ready, document } = await atStart(ofSidecar, url)
      assert.equal(ready, true)
      assert.equal(JSON.parse(document.body).Code, 'Success')
    })

    test(`the sidecar of ${ofSidecar} release understands every refusal of the broker of ${ofBroker} release`, async () => {
      const known = answers(ofBroker).filter(({ to }) => Object.hasOwn(PROBLEMS, to))
      assert.ok(known.length >= 18, 'every code is recorded')
      for (const { to } of known) {
        const url = await replay(answer(ofBroker, to), answer(ofBroker, 'metadata'))
        const { ready, code, list, document } = await atStart(ofSidecar, url)
        const isNew = ofSidecar === 'previous' && UNKNOWN_TO_PREVIOUS.has(to)
        const shown = shownFor(to, isNew ? 'broker-answer-invalid' : to)
        assert.deepEqual([ready, code, appSees(list, document)], shown, to)
      }
    })
  }

  test('the sidecar reports an unknown path of the previous release’s broker as a difference of releases', async () => {
    const url = await replay(answer('previous', 'unknown path'), answer('previous', 'metadata'))
    const { code, detail, logs } = await atStart('this', url)
    assert.equal(code, 'protocol-not-spoken')
    assert.match(detail ?? '', /it is of another release\. Remedy: bring the node guard to the release/)
    assert.ok(logs.some((line) => line.level === 'warn' && line.code === 'protocol-not-spoken'))
  })

  test('the sidecar reports this broker’s answer to a path of a later protocol, with the broker’s release', async () => {
    const url = await replay(answer('this', 'unknown path'), answer('this', 'metadata'))
    const { code, detail } = await atStart('this', url)
    assert.equal(code, 'protocol-not-spoken')
    assert.match(detail ?? '', new RegExp(`is of release ${VERSION} and speaks v1, but was asked in v9`))
  })

  test('the sidecar reports a code of a later release with its sentence, and tries again', async () => {
    const raw = answer('this', 'role-not-allowed').replaceAll('role-not-allowed', 'role-not-granted')
    const { code, detail, document } = await atStart('this', await replay(raw, answer('this', 'metadata')))
    assert.deepEqual([code, document.status], ['broker-answer-invalid', 503])
    assert.match(
      detail ?? '',
      /answered role-not-granted, which this sidecar \(release .*\) does not know: a sentence about/,
    )
  })

  test('this sidecar logs its release and that of the broker once', async () => {
    const url = await replay(fresh(answer('this', 'success')), answer('this', 'metadata'))
    const { logs } = await atStart('this', url)
    assert.equal(logs.find(({ msg }) => msg === 'listening')?.version, VERSION)
    const lines = logs.filter(({ msg }) => msg === 'the broker of this node answers')
    assert.deepEqual(
      lines.map(({ release }) => release),
      [VERSION],
    )
  })

  test('this sidecar sends the same requests as the previous one, so that brokers of both releases understand it', async () => {
    const now = await requestsOf(releases.file('this', 'sidecar'))
    const [own, former] = [`pod2iam-sidecar/${VERSION}`, `pod2iam-sidecar/${RELEASE.version}`]
    assert.deepEqual(
      now.map((text) => text.replace(own, former)),
      sidecarRequests(),
    )
  })
})
