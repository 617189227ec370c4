import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { fairQueue } from '../../common/fair-queue.ts'
import { type Priority, stsQueue } from '../../node-guard/broker/sessions/sts-queue.ts'
import { fakeClock } from '../support/fake-clock.ts'

test('namespaces take turns, and calls of one namespace stay in order', () => {
  const line = fairQueue()
  const order: string[] = []
  for (const one of ['a1', 'a2', 'a3', 'b1', 'c1', 'b2'])
    line.add({ namespace: one.charAt(0) }, () => order.push(one))
  for (let start = line.next(); start; start = line.next()) start()
  assert.deepEqual(order, ['a1', 'b1', 'c1', 'a2', 'b2', 'a3'])
  assert.equal(line.size(), 0)
})

const failure = (name: string, httpStatusCode: number) =>
  Object.assign(new Error(name), { name, $metadata: { httpStatusCode } })

function tasks(perSecond: number, concurrency: number) {
  const clock = fakeClock()
  const queue = stsQueue({ perSecond, concurrency }, clock)
  const started: string[] = []
  const ends: (() => void)[] = []
  const add = (name: string, priority: Priority = 'first', namespace = 'n') =>
    queue.run({ namespace, priority }, () => {
      started.push(name)
      return new Promise<void>((resolve) => ends.push(resolve))
    })
  return { clock, queue, started, ends, add }
}

test('no more calls run at once than the limit allows', async () => {
  const { started, ends, add, queue } = tasks(100, 2)
  for (const name of ['1', '2', '3']) void add(name)
  await setImmediate()
  assert.deepEqual([started, queue.waiting()], [['1', '2'], 1])
  ends[0]?.()
  await setImmediate()
  assert.deepEqual(started, ['1', '2', '3'])
})

test('replacing expired credentials comes before renewals, and renewals before first issues', async () => {
  const { started, ends, add } = tasks(100, 1)
  void add('running')
  void add('first')
  void add('renewal', 'renewal')
  void add('lapsed', 'lapsed')
  for (let index = 0; index < 4; index++) {
    await setImmediate()
    ends[index]?.()
  }
  assert.deepEqual(started, ['running', 'lapsed', 'renewal', 'first'])
})

test('a burst has as many calls as the rate per second, and then calls start at that rate', async () => {
  const { clock, started, ends, add } = tasks(5, 100)
  for (let index = 0; index < 20; index++) void add(String(index))
  await setImmediate()
  // There is one timer, however many calls wait.
  assert.deepEqual([started.length, clock.pending()], [5, 1])
  await clock.advance(1000)
  assert.equal(started.length, 10)
  await clock.advance(2000)
  assert.equal(started.length, 20)
  for (const end of ends) end()
})

test('a call that fails frees its place', async () => {
  const { queue, clock } = tasks(100, 1)
  const turn = { namespace: 'n', priority: 'first' } as const
  for (const error of [new Error('no'), failure('AccessDenied', 403), failure('Throttling', 400)]) {
    await assert.rejects(queue.run(turn, () => Promise.reject(error)))
    const next = queue.run(turn, async () => 'yes')
    await clock.advance(1000)
    assert.equal(await next, 'yes')
  }
})

test('a call is refused at once when two thousand calls wait', async () => {
  const { add } = tasks(1, 1)
  for (let index = 0; index < 2001; index++) void add(String(index))
  await assert.rejects(add('one too many'), { code: 'busy' })
})

test('a warm-up waits for all requested calls, until its own session is requested', async () => {
  const clock = fakeClock()
  const queue = stsQueue({ perSecond: 100, concurrency: 1 }, clock)
  const order: string[] = []
  const end = Promise.withResolvers<void>()
  const run = (name: string, priority: Priority, namespace = 'n') => {
    const turn = { namespace, priority }
    void queue.run(turn, async () => {
      order.push(name)
      if (name === 'running') await end.promise
    })
    return turn
  }
  run('running', 'first')
  run('warm-1', 'warm-up')
  const raised = run('warm-2', 'warm-up')
  run('first', 'first', 'other')
  run('renewal', 'renewal')
  queue.raise(raised)
  // Raising it twice, or when it does not wait any more, has no effect.
  queue.raise(raised)
  assert.equal(queue.waiting(), 4)
  end.resolve()
  for (let turn = 0; turn < 10; turn++) await setImmediate()
  queue.raise(raised)
  assert.deepEqual(order, ['running', 'renewal', 'first', 'warm-2', 'warm-1'])
  assert.equal(queue.waiting(), 0)
})

/** The times of the calls that a queue which is never empty makes in ten minutes, when all get the same answer. */
async function callsUnder(answer: () => Promise<string>, perSecond = 20) {
  const clock = fakeClock()
  const queue = stsQueue({ perSecond, concurrency: 10 }, clock)
  const at: number[] = []
  const again = async (namespace: string) => {
    await queue
      .run({ namespace, priority: 'first' }, () => {
        at.push(clock.now())
        return answer()
      })
      .catch(() => {})
    clock.after(1, () => void again(namespace))
  }
  for (let index = 0; index < 30; index++) void again(`n${index}`)
  await clock.advance(600_000)
  return { clock, at }
}

test('a node calls STS less and less often while it is throttled or gets no answer, but never stops', async () => {
  for (const error of [
    failure('Throttling', 400),
    failure('ServiceUnavailable', 503),
    new Error('timeout'),
  ]) {
    const { at, clock } = await callsUnder(() => Promise.reject(error))
    const late = at.filter((time) => time > clock.now() - 300_000)
    assert.ok(late.length >= 7 && late.length <= 15, `${late.length} calls in the last five minutes`)
  }
})

test('a role that is denied does not slow down the queue', async () => {
  const { at } = await callsUnder(() => Promise.reject(failure('AccessDenied', 403)))
  assert.ok(at.length > 0.99 * 20 * 600, `${at.length} calls`)
})

test('a node calls STS at its full rate three minutes after STS answers again', async () => {
  let isAway = true
  const clock = fakeClock()
  const queue = stsQueue({ perSecond: 20, concurrency: 10 }, clock)
  const at: number[] = []
  const again = async () => {
    const call = async () => {
      at.push(clock.now())
      if (isAway) throw failure('Throttling', 400)
    }
    await queue.run({ namespace: 'n', priority: 'first' }, call).catch(() => {})
    clock.after(1, () => void again())
  }
  for (let index = 0; index < 30; index++) void again()
  await clock.advance(600_000)
  isAway = false
  await clock.advance(180_000)
  at.length = 0
  await clock.advance(10_000)
  assert.ok(at.length >= 199, `${at.length} calls in ten seconds`)
})
