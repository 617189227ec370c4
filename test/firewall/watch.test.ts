/** Following a monitoring command. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, it, mock } from 'node:test'
import { watch } from '../../node-guard/firewall/process/watch.ts'

beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }))
afterEach(() => mock.timers.reset())

const watching = () => {
  const reported: string[] = []
  const stop = watch(
    { command: 'tail', args: ['-f', '/dev/null'], matches: () => true },
    {
      event: () => reported.push('event'),
      missed: () => reported.push('unseen'),
      ended: () => reported.push('ended'),
    },
  )
  return { reported, stop }
}

it('watch reports that events before the command listened are unseen, also the first time', () => {
  const { reported, stop } = watching()
  mock.timers.tick(1000)
  stop()
  assert.deepEqual(reported, ['unseen'])
})

it('watch reports nothing after it is stopped', () => {
  const { reported, stop } = watching()
  stop()
  mock.timers.tick(10_000)
  assert.deepEqual(reported, [])
})

it('watch reports unseen events repeatedly, up to sixty times, while the command is not known to listen', () => {
  const { reported, stop } = watching()
  for (let second = 0; second < 70; second++) mock.timers.tick(1000)
  stop()
  assert.deepEqual(
    reported,
    Array.from({ length: 60 }, () => 'unseen'),
  )
})
