/** Following a monitoring command. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, it, mock } from 'node:test'
import { watch } from '../../node-guard/firewall/process/watch.ts'

beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }))
afterEach(() => mock.timers.reset())

const watching = () => {
  const told: string[] = []
  const stop = watch(
    { command: 'tail', args: ['-f', '/dev/null'], matches: () => true },
    { event: () => told.push('event'), missed: () => told.push('unseen'), ended: () => told.push('ended') },
  )
  return { told, stop }
}

it('what happened before the command listened, the first time too, is said to be unseen', () => {
  const { told, stop } = watching()
  mock.timers.tick(1000)
  stop()
  assert.deepEqual(told, ['unseen'])
})

it('once stopped it says nothing', () => {
  const { told, stop } = watching()
  stop()
  mock.timers.tick(10_000)
  assert.deepEqual(told, [])
})

it('what happened before is said to be unseen again, as long as the command is not seen to listen', () => {
  const { told, stop } = watching()
  for (let second = 0; second < 70; second++) mock.timers.tick(1000)
  stop()
  assert.deepEqual(
    told,
    Array.from({ length: 60 }, () => 'unseen'),
  )
})
