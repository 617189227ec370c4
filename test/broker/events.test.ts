import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KubeError } from '../../common/kube/client.ts'
import { Problem, type ProblemCode } from '../../common/protocol.ts'
import { podEvents } from '../../node-guard/broker/audit/events.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { silentLog } from '../support/log.ts'

const POD = { uid: 'u-1', namespace: 'shop', name: 'web' }
const MINUTE = 60_000

function world() {
  const clock = fakeClock()
  const sent: { method: string; path: string; body: Record<string, unknown> }[] = []
  const outcomes: string[] = []
  const nameOf = (index: number) => (sent[index]?.body.metadata as { name: string } | undefined)?.name ?? ''
  const state = { fail: undefined as ((method: string) => Error | undefined) | undefined }
  const kube = {
    send: async (method: 'POST' | 'PATCH' | 'PUT', path: string, body: unknown) => {
      sent.push({ method, path, body: body as Record<string, unknown> })
      const error = state.fail?.(method)
      if (error) throw error
      return {}
    },
  }
  const events = podEvents({ kube, clock, log: silentLog }, 'node-1', (outcome) => outcomes.push(outcome))
  const report = (code: ProblemCode = 'role-not-allowed', detail = 'a sentence', pod = POD) =>
    events.report(pod, new Problem(code, detail))
  return { clock, sent, outcomes, state, report, nameOf }
}

test('a refusal becomes a Warning on the pod, with the same sentence', () => {
  const { sent, report } = world()
  report()
  assert.equal(sent[0]?.path, '/apis/events.k8s.io/v1/namespaces/shop/events')
  const { metadata, eventTime, ...event } = sent[0]?.body ?? {}
  assert.match(String(eventTime), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
  assert.match(JSON.stringify(metadata), /"name":"web\.[0-9a-f]{16}","namespace":"shop"/)
  assert.deepEqual(event, {
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    reportingController: 'pod2iam.dev/broker',
    reportingInstance: 'node-1',
    action: 'IssueCredentials',
    type: 'Warning',
    reason: 'RoleNotAllowed',
    note: 'a sentence',
    regarding: { apiVersion: 'v1', kind: 'Pod', namespace: 'shop', name: 'web', uid: 'u-1' },
  })
})

test('a temporary failure does not become an Event', () => {
  const { sent, report } = world()
  for (const code of ['busy', 'sts-throttled', 'sts-unavailable', 'pod-unknown', 'token-invalid'] as const)
    report(code)
  assert.equal(sent.length, 0)
})

test('a refusal that continues updates the count of one Event every five minutes', async () => {
  const { clock, sent, report, nameOf } = world()
  for (let minute = 0; minute < 11; minute++) {
    report()
    await clock.advance(MINUTE)
  }
  assert.deepEqual(
    sent.map(({ method }) => method),
    ['POST', 'PATCH', 'PATCH'],
  )
  assert.equal((sent[1]?.body.series as { count?: number } | undefined)?.count, 6)
  assert.ok(nameOf(0) && sent[1]?.path.endsWith(nameOf(0)))
})

test('another sentence or another pod makes another Event', () => {
  const { nameOf, report } = world()
  report('role-not-allowed', 'one')
  report('role-not-allowed', 'two')
  report('role-not-allowed', 'one', { ...POD, uid: 'u-2' })
  assert.equal(new Set([0, 1, 2].map(nameOf)).size, 3)
})

test('an Event of a previous broker is updated, and one that has expired is written again', async () => {
  const { clock, sent, state, report } = world()
  state.fail = (method) => (method === 'POST' ? new KubeError(409, 'exists') : undefined)
  report()
  await clock.advance(6 * MINUTE)
  state.fail = (method) => (method === 'PATCH' ? new KubeError(404, 'gone') : undefined)
  report()
  await clock.advance(1)
  assert.deepEqual(
    sent.map(({ method }) => method),
    ['POST', 'PATCH', 'PATCH', 'POST'],
  )
  // Kubernetes: "series.count: should be at least 2".
  const counts = sent.flatMap(({ body }) => (body.series as { count: number } | undefined)?.count ?? [])
  assert.deepEqual(counts, [2, 3])
})

test('a thousand refused pods cause few Events, and failures to write them are only counted', async () => {
  const { clock, sent, outcomes, state, report } = world()
  state.fail = () => new Error('down')
  for (let index = 0; index < 1000; index++) report('role-not-allowed', 'x', { ...POD, uid: `u-${index}` })
  await clock.advance(1)
  assert.equal(sent.length, 25)
  assert.equal(outcomes.filter((outcome) => outcome === 'limited').length, 975)
  assert.equal(outcomes.filter((outcome) => outcome === 'failed').length, 25)
})

test('note and name of an Event stay within the limits of Kubernetes', () => {
  const { sent, report, nameOf } = world()
  report('sts-denied', 'x'.repeat(5000), { ...POD, name: 'n'.repeat(253) })
  assert.equal(String(sent[0]?.body.note).length, 1024)
  assert.ok(nameOf(0).length > 200 && nameOf(0).length <= 253)
})
