/** Limits on what one tenant may cost the others: API reads, log lines and pages of lists. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, createServer } from 'node:http'
import { test } from 'node:test'
import { httpRequest, TooLargeError } from '../../common/http-request.ts'
import type { Kube, Query } from '../../common/kube/client.ts'
import { reflect } from '../../common/kube/reflector.ts'
import { Problem } from '../../common/protocol.ts'
import { refusalLog } from '../../node-guard/broker/audit/refusal-log.ts'
import { podRecord } from '../../node-guard/broker/kubernetes/pod.ts'
import { podStore } from '../../node-guard/broker/kubernetes/pods.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { listening } from '../support/listening.ts'
import { captureLog, silentLog } from '../support/log.ts'
import { judgement } from './judgement.ts'

const object = (uid: string, nodeName = 'node-1') => ({
  metadata: { uid, namespace: 'shop', name: `pod-${uid}`, creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: { nodeName },
})

const asking = (objects: Record<string, object>) =>
  judgement(
    (path) => objects[path.replace(/.*pod-/, '')],
    (uid) => `pod-${uid}`,
  )

test('the token of a pod whose deletion the watch has reported costs no read of the API server', async () => {
  const { clock, state, pods, code } = asking({})
  const pod = podRecord(object('a'), 'role')
  assert.ok(pod)
  pods.sink.upsert(pod)
  pods.sink.remove(pod)
  for (let minute = 0; minute < 5; minute++) {
    assert.equal(await code('a'), 'pod-unknown')
    await clock.advance(60_000)
  }
  assert.equal(state.reads, 0)
})

test('the token of a pod that does not exist or runs on another node costs one read in 30 seconds', async () => {
  for (const [objects, expected] of [
    [{}, 'pod-unknown'],
    [{ a: object('a', 'node-2') }, 'token-not-for-this-node'],
    [{ a: object('successor') }, 'pod-unknown'],
  ] as const) {
    const { clock, state, code } = asking(objects)
    for (let second = 0; second < 29; second++) {
      assert.equal(await code('a'), expected)
      await clock.advance(1000)
    }
    assert.equal(state.reads, 1)
    await clock.advance(2000)
    assert.equal(await code('a'), expected)
    assert.equal(state.reads, 2)
  }
})

test('a pod that is not bound to a node yet is read again after a second', async () => {
  const objects = { a: object('a', '') }
  const { clock, code } = asking(objects)
  assert.equal(await code('a'), 'token-not-for-this-node')
  objects.a = object('a')
  await clock.advance(1001)
  assert.equal(await code('a'), 'pod-not-injected')
})

/** A list of `count` pods of `bytes` each, from a client that takes answers of up to 8 MiB. */
async function listed(count: number, bytes: number) {
  const clock = fakeClock()
  const limits: number[] = []
  const stopping = new AbortController()
  const unused = () => Promise.reject(new Error('unused'))
  const kube: Kube = {
    get: async (_path, query: Query = {}) => {
      const [limit, from] = [Number(query.limit), Number(query.continue ?? 0)]
      limits.push(limit)
      const length = Math.min(limit, count - from)
      if (length * bytes > 8 * 1024 * 1024) throw new TooLargeError(8 * 1024 * 1024)
      const end = from + length
      return {
        items: Array.from({ length }, (_, index) => object(String(from + index))),
        metadata: { resourceVersion: '1', ...(end < count ? { continue: String(end) } : {}) },
      }
    },
    send: unused,
    // biome-ignore lint/correctness/useYield: a watch that brings nothing
    stream: async function* (_path, _query, signal) {
      await once(signal, 'abort')
    },
    close: () => {},
  }
  const pods = podStore((one) => podRecord(one, 'role'))
  const reflection = reflect(
    { path: '/api/v1/pods', query: {}, sink: pods.sink },
    { kube, clock, log: silentLog, signal: stopping.signal },
  )
  for (let turn = 0; turn < 20; turn++) await clock.advance(1)
  stopping.abort()
  return { synced: reflection.synced(), pods: pods.size(), limits }
}

test('large pods are listed in smaller pages, down to a single pod', async () => {
  const { limits, ...large } = await listed(26, 1.3 * 1024 * 1024)
  assert.deepEqual(large, { synced: true, pods: 26 })
  assert.deepEqual(limits.slice(0, 5), [20, 10, 5, 10, 5])
  const single = await listed(3, 5 * 1024 * 1024)
  assert.deepEqual([single.synced, single.pods, single.limits.includes(1)], [true, 3, true])
  assert.deepEqual((await listed(110, 10_000)).limits, [20, 20, 20, 20, 20, 20])
})

test('a list fails when a page with a single pod is too large, and no empty page is requested', async () => {
  const { synced, limits } = await listed(3, 9 * 1024 * 1024)
  assert.deepEqual([synced, limits.slice(0, 5)], [false, [20, 10, 5, 2, 1]])
  assert.ok(limits.every((limit) => limit >= 1))
})

test('an answer larger than allowed fails with an error of its own', async () => {
  const server = createServer((_, response) => response.end('x'.repeat(1001)))
  const port = await listening(server)
  const url = new URL(`http://127.0.0.1:${port}/`)
  try {
    const options = { timeoutMs: 5000, maxBytes: 1000, agent: false }
    await assert.rejects(httpRequest(url, options), TooLargeError)
    assert.equal((await httpRequest(url, { ...options, maxBytes: 1001 })).body.length, 1001)
  } finally {
    server.close()
    server.closeAllConnections()
  }
})

test('a request whose answer is cut off in the middle is not repeated', async () => {
  let requests = 0
  const server = createServer((request, response) => {
    requests++
    if (request.url === '/whole') return response.end('whole')
    response.write('begun')
    return setImmediate(() => request.socket.resetAndDestroy())
  })
  const port = await listening(server)
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  try {
    const options = { timeoutMs: 5000, maxBytes: 1000, agent }
    const url = (path: string) => new URL(path, `http://127.0.0.1:${port}`)
    await httpRequest(url('/whole'), options)
    await assert.rejects(httpRequest(url('/cut'), options), { code: 'ECONNRESET' })
    await httpRequest(url('/whole'), options)
    assert.equal(requests, 3)
  } finally {
    agent.destroy()
    server.close()
    server.closeAllConnections()
  }
})

function refusals() {
  const clock = fakeClock()
  const { log, lines } = captureLog('warn')
  return { clock, log: refusalLog(log, clock), warned: () => lines }
}
const invalid = (detail: string) => new Problem('token-invalid', detail)

test('refusals that alternate in code or sentence are logged once per code in ten minutes', async () => {
  const { clock, log, warned } = refusals()
  const round = () => {
    for (let index = 0; index < 20; index++) {
      log.rejected('10.0.0.1', invalid(`sentence ${index}`))
      log.rejected('10.0.0.1', new Problem('token-missing', 'x'))
      log.refused({ uid: 'u', namespace: 'n', name: 'p' }, new Problem('identity-changed', 'x'))
    }
  }
  round()
  assert.deepEqual(
    warned().map(({ code }) => code),
    ['token-invalid', 'token-missing', 'identity-changed'],
  )
  await clock.advance(10 * 60_000)
  round()
  assert.equal(warned().length, 6)
})

test('many peers cannot fill the log, since refusals beyond the limit are only counted', async () => {
  const { clock, log, warned } = refusals()
  for (let index = 0; index < 5000; index++) log.rejected(`10.0.${index >> 8}.${index & 255}`, invalid('x'))
  assert.equal(warned().length, 100)
  await clock.advance(1000)
  log.rejected('10.9.9.9', invalid('x'))
  assert.equal(warned().at(-1)?.notLogged, 4900)
  await clock.advance(1000)
  log.rejected('10.9.9.10', invalid('x'))
  assert.equal(warned().at(-1)?.notLogged, undefined)
})
