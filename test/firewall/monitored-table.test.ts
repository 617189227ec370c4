/** What the guard concludes from the kernel's notifications of changes in nf_tables. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Backend } from '../../node-guard/firewall/backend/backend.ts'
import { nftBackend } from '../../node-guard/firewall/nft/backend.ts'
import type { Exec } from '../../node-guard/firewall/process/exec.ts'
import { until } from '../support/until.ts'

const exec: Exec = async () => ({ code: 0, stdout: '{"nftables":[]}', stderr: '' })
const RULES = { metadata: ['169.254.169.254'], broker: ['169.254.170.24'], uplinks: ['eth0'] }

const FLUSH = [
  'delete rule inet pod2iam_guard forward',
  'delete chain inet pod2iam_guard forward',
  'delete table inet pod2iam_guard',
]
const OUR_LOAD = [
  'delete rule inet pod2iam_guard forward',
  'add rule inet pod2iam_guard refuse',
  'add rule inet pod2iam_guard forward',
]
const OUR_REPLACEMENT = [
  ...FLUSH,
  'add table inet pod2iam_guard',
  'add chain inet pod2iam_guard forward',
  ...OUR_LOAD.slice(1),
]
const end = (generation: number) => `# new generation ${generation} by process 4711 (nft)`

async function monitored(): Promise<{
  backend: Backend
  hear: (...lines: readonly string[]) => readonly boolean[]
}> {
  const backend = nftBackend(exec)
  const watched = await backend.monitor()
  return { backend, hear: (...lines) => lines.map((line) => watched?.matches(line) ?? false) }
}

test('a completely reported flush is known without a reading', async () => {
  const { backend, hear } = await monitored()
  hear(...FLUSH)
  assert.equal(backend.reportedChange?.(), undefined)
  assert.deepEqual(hear(end(2)), [true])
  assert.equal(backend.reportedChange?.(), 'is gone')
})

test('our own load and our replacement of the table do not count as a loss, at any point of their report', async () => {
  const { backend, hear } = await monitored()
  for (const line of [...OUR_LOAD, end(3), ...OUR_REPLACEMENT, end(4)]) {
    hear(line)
    assert.equal(backend.reportedChange?.(), undefined)
  }
})

test('a change of a part of the table is overwritten before it is read', async () => {
  for (const line of [
    'delete rule inet pod2iam_guard forward',
    'add rule inet pod2iam_guard forward',
    'add table inet pod2iam_guard',
    'delete chain inet pod2iam_guard forward',
  ]) {
    const { backend, hear } = await monitored()
    await backend.load(RULES)
    assert.deepEqual(hear(line, end(2)), [false, true], line)
    assert.equal(backend.reportedChange?.(), line.startsWith('add rule') ? undefined : 'was changed', line)
  }
})

test('a table that is loaded again counts as in place until the monitor reports the next flush', async () => {
  const { backend, hear } = await monitored()
  hear(...FLUSH, end(2))
  await backend.load(RULES)
  assert.equal(backend.reportedChange?.(), undefined)
  hear(...OUR_LOAD, end(3), ...FLUSH, end(4))
  assert.equal(backend.reportedChange?.(), 'is gone')
})

test('a flush that is reported during a load still counts after it', async () => {
  let hearFlush = () => {}
  const backend = nftBackend(async (...call) => {
    hearFlush()
    return exec(...call)
  })
  const watched = await backend.monitor()
  hearFlush = () => {
    for (const line of [...FLUSH, end(5)]) watched?.matches(line)
  }
  await backend.load(RULES)
  assert.equal(backend.reportedChange?.(), 'is gone')
})

test('a change of other tables is ignored', async () => {
  const { backend, hear } = await monitored()
  const others = ['delete table inet other', 'add table inet pod2iam_owned', 'delete table ip filter', end(2)]
  assert.deepEqual(
    hear(...others),
    others.map(() => false),
  )
  assert.equal(backend.reportedChange?.(), undefined)
})

test('a table that is reported as lost is written again at once, also during a reading', async () => {
  const calls: string[] = []
  let answerReading = () => {}
  const backend = nftBackend(async (_command, args) => {
    calls.push(args.includes('list') ? 'read' : 'write')
    if (calls.at(-1) === 'read') await new Promise<void>((resolve) => (answerReading = resolve))
    return { code: 0, stdout: '{"nftables":[]}', stderr: '' }
  })
  const watched = await backend.monitor()
  const hear = (...lines: readonly string[]) => lines.map((line) => watched?.matches(line))
  const made = (count: number) => until(`${count} calls`, () => calls.length >= count)
  const loading = backend.load(RULES)
  for (const count of [3, 5]) {
    await made(count - 1)
    answerReading()
    await made(count)
  }
  answerReading()
  await loading
  calls.length = 0
  const reading = backend.compare()
  await made(1)
  hear(...FLUSH, end(6))
  await made(2)
  assert.deepEqual(calls, ['read', 'write'])
  assert.equal(backend.reportedChange?.(), 'is gone')
  answerReading()
  await reading
})
