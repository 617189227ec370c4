import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { fairQueue } from '../../injector/admission/fair-queue.ts'

/** Turns in simulated time: each piece of work takes exactly the given milliseconds. */
function simulation() {
  let now = 0
  const later: (() => void)[] = []
  const turns = fairQueue(
    () => now,
    (work) => later.push(work),
  )
  const finished: { who: string; at: number }[] = []
  const ask = (who: string, address: string, namespace: string, milliseconds: number) => {
    void turns.take({ address, namespace, bytes: milliseconds * 100_000 }, () => {
      now += milliseconds
      finished.push({ who, at: now })
    })
  }
  /** Runs until nobody waits; `meanwhile` is called whenever the event loop can serve sockets. */
  const run = (meanwhile: (now: number) => void = () => undefined) => {
    for (let work = later.shift(); work !== undefined; work = later.shift()) {
      work()
      meanwhile(now)
    }
  }
  return { turns, ask, run, finished, now: () => now }
}

describe('turns', () => {
  it('go to a small review before earlier, heavy reviews of another address', () => {
    const { ask, run, finished } = simulation()
    for (let count = 0; count < 50; count++) ask('heavy', 'a', 'x', 30)
    ask('small', 'b', 'shop', 1)
    run()
    assert.equal(
      finished.findIndex(({ who }) => who === 'small'),
      0,
    )
  })

  it('are shared in the same way between the namespaces of one address', () => {
    const { ask, run, finished } = simulation()
    for (let count = 0; count < 50; count++) ask('heavy', 'a', 'x', 30)
    for (let count = 0; count < 5; count++) ask('small', 'a', 'shop', 1)
    run()
    const places = finished.flatMap(({ who }, index) => (who === 'small' ? [index] : []))
    assert.ok((places.at(-1) ?? 50) < 10, String(places))
  })

  it('leave an address its share beside a hundred addresses that always have a heavy review waiting', () => {
    const { ask, run, finished } = simulation()
    const crowd = Array.from({ length: 100 }, (_, index) => `10.0.0.${index}`)
    for (const address of crowd) ask('heavy', address, 'x', 45)
    const asked: number[] = []
    let [next, served] = [0, 0]
    run((now) => {
      if (now > 60_000) return
      // The crowd never rests; the good address has ten pods a second.
      for (const { who } of finished.slice(served))
        if (who === 'heavy') ask('heavy', crowd[next++ % 100] ?? '', 'x', 45)
      served = finished.length
      if (now - (asked.at(-1) ?? 0) < 100) return
      asked.push(now)
      ask('good', 'api', 'shop', 1)
    })
    const waits = finished
      .filter(({ who }) => who === 'good')
      .map(({ at }, index) => at - (asked[index] ?? 0))
    assert.ok(waits.length > 300 && next > 1000, `${waits.length}, ${next}`)
    assert.ok(Math.max(...waits) < 100, `${Math.max(...waits)} ms`)
  })

  it('do not accumulate for an idle address: others are still served when it comes back', () => {
    const { ask, run, finished } = simulation()
    ask('early', 'a', 'x', 1)
    for (let count = 0; count < 20; count++) ask('busy', 'b', 'x', 5)
    let back = false
    run((now) => {
      if (now < 50 || back) return
      back = true
      for (let count = 0; count < 20; count++) ask('back', 'a', 'x', 5)
    })
    const after = finished.slice(11, 31).filter(({ who }) => who === 'busy').length
    assert.ok(after >= 8, `${after} of the next twenty are of the busy address`)
  })

  it('starve no review: a heavy one gets its turn beside endless small ones', () => {
    const { ask, run, finished, now } = simulation()
    ask('heavy', 'a', 'x', 40)
    for (let count = 0; count < 10; count++) ask('small', 'b', 'x', 1)
    run(() => {
      if (now() < 5000 && !finished.some(({ who }) => who === 'heavy'))
        for (let count = 0; count < 10; count++) ask('small', 'b', 'x', 1)
    })
    const heavy = finished.find(({ who }) => who === 'heavy')
    assert.ok(heavy !== undefined && heavy.at < 3000, JSON.stringify(heavy))
  })

  it('return what the work returns, and throw what it throws', async () => {
    const { turns, run } = simulation()
    const turn = { address: 'a', namespace: '', bytes: 1 }
    const good = turns.take(turn, () => 7)
    const bad = turns.take(turn, () => {
      throw new Error('as arranged')
    })
    run()
    assert.equal(await good, 7)
    await assert.rejects(bad, /as arranged/)
  })

  it('let the event loop serve sockets after ten milliseconds of work', () => {
    const { ask, run } = simulation()
    const looked: number[] = []
    for (let count = 0; count < 40; count++) ask('any', 'a', 'x', 4)
    run((now) => looked.push(now))
    assert.deepEqual(looked.slice(0, 3), [12, 24, 36])
  })
})
