/** What the block counts when a load fails, without a kernel. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Backend } from '../../node-guard/firewall/backend/backend.ts'
import { createBlock } from '../../node-guard/firewall/block/block.ts'
import { silentLog } from '../support/log.ts'

test('packets are not counted again when a load fails and the rules stay', async () => {
  let intact = true
  const loads: (string | undefined)[] = [undefined, 'the lock is held', undefined]
  const backend: Backend = {
    name: 'iptables-legacy',
    what: 'rules',
    load: async () => undefined,
    compare: async () => ({
      packets: { metadata_dropped: 3 },
      ...(intact ? {} : { differs: 'was changed' as const }),
    }),
    remove: async () => 'absent',
    monitor: async () => undefined,
  }
  const block = createBlock({
    metadata: [],
    broker: [],
    choice: {
      chosen: () => backend,
      fallback: () => undefined,
      load: async () => loads.shift(),
      othersLeft: () => undefined,
      removeOthers: async () => {},
    },
    topology: () => ({ uplinks: [], inner: [], outer: [] }),
    now: () => 0,
    log: silentLog,
  })
  await block.check('start')
  await block.check('poll')
  intact = false
  await block.check('poll')
  assert.equal(block.state().verified, false)
  intact = true
  await block.check('poll')
  assert.equal(block.state().packets.metadata_dropped, 3)
})
