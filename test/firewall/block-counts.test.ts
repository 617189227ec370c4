/** What the block counts when loads fail or are repeated, without a kernel. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { failed } from '../../common/result.ts'
import type { Backend, Compared } from '../../node-guard/firewall/backend/backend.ts'
import { createBlock } from '../../node-guard/firewall/block/block.ts'
import { createChoice } from '../../node-guard/firewall/block/choice.ts'
import { silentLog } from '../support/log.ts'

/** A block whose backend answers loads and comparisons in this order. */
function blockWith(answers: { loads: (string | undefined)[]; compared: Compared[] }) {
  const backend: Backend = {
    name: 'iptables-legacy',
    what: 'rules',
    load: async () => {
      const detail = answers.loads.shift()
      return detail === undefined ? undefined : failed(detail)
    },
    compare: async () => answers.compared.shift() ?? assert.fail('compared too often'),
    remove: async () => 'absent',
    monitor: async () => undefined,
  }
  return createBlock({
    metadata: [],
    broker: [],
    choice: createChoice({
      backends: { all: [backend], candidates: async () => [backend] },
      follow: async () => () => {},
      log: silentLog,
    }),
    topology: () => ({ uplinks: [], inner: [], outer: [] }),
    now: () => 0,
    log: silentLog,
  })
}

const dropped = (packets: number): Compared => ({ packets: { metadata_dropped: packets } })
const changed = (packets: number): Compared => ({ ...dropped(packets), differs: 'was changed' })

test('packets are not counted again when a load fails and the rules stay', async () => {
  const block = blockWith({
    loads: [undefined, 'the lock is held'],
    compared: [dropped(0), dropped(3), changed(3), dropped(3)],
  })
  await block.check('start')
  await block.check('poll')
  await block.check('poll')
  assert.equal(block.state().verified, false)
  await block.check('poll')
  assert.equal(block.state().packets.metadata_dropped, 3)
})

test('packets are counted that were dropped between two loads of one repair, since each sets the counters to zero', async () => {
  const block = blockWith({
    loads: [],
    compared: [dropped(0), changed(3), changed(2), changed(1), dropped(0), dropped(4)],
  })
  await block.check('start')
  await block.check('event')
  assert.equal(block.state().verified, true)
  await block.check('poll')
  assert.equal(block.state().packets.metadata_dropped, 10)
})
