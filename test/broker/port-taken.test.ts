/**
 * A program on the host network that takes the broker's port while the broker is being replaced. That its connections are refused is the
 * firewall's work (test/firewall/host-network-attacks.test.ts); the broker says so.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { after, before, test } from 'node:test'
import { freePort } from '../support/free-port.ts'
import { eventually } from '../support/until.ts'
import { World } from './world.ts'

let world: World
before(async () => {
  world = await World.start()
})
after(() => world?.stop())

test('a broker whose port another process has taken is not ready, names the port and the remedy, and listens when it can', async () => {
  const port = await freePort()
  const thief = createServer().listen({ port, host: '0.0.0.0' })
  await once(thief, 'listening')
  world.listenOn(port)
  const broker = await world.brokerNotReady()
  await eventually('it says so', () => broker.readiness().code === 'broker-port-taken')
  assert.match(
    String(broker.readiness().detail),
    new RegExp(`^another process listens on 127.0.0.1:${port} .+ss -ltnp.+guard.hostNetwork=block`),
  )
  assert.equal(world.logs.filter(({ code }) => code === 'broker-port-taken').length, 1)
  thief.close()
  await eventually('it is ready', () => broker.readiness().ready)
})
