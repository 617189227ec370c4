/** What the broker does while it cannot tell the firewall about pods on the host network. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { World } from './world.ts'

let world: World
before(async () => {
  world = await World.start()
})
after(() => world?.stop())

test('while the list cannot be written, changes of pods do not multiply the attempts', async () => {
  await world.namespace('shop')
  await world.broker(`--host-pods-dir=${join(world.directory, 'missing')}`)
  const attempts = () => world.logs.filter(({ msg }) => msg === 'host pods not written').length
  const perTwoSeconds = async () => {
    const before = attempts()
    await sleep(2000)
    return attempts() - before
  }
  const first = await perTwoSeconds()
  for (let index = 0; index < 60; index++) {
    await world.pod('shop', `agent-${index}`, { hostNetwork: true, sidecar: false })
    await sleep(8)
  }
  await sleep(1000)
  const then = await perTwoSeconds()
  // Every half second; some more, since attempts may have begun from several places.
  assert.ok(then <= 2 * Math.max(first, 8), `${first} attempts in two seconds, and ${then} after 60 pods`)
})
