/** When the broker writes the list of pods on the host network, with an API server and a clock that a test controls. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { readHostPods } from '../../common/host-pods.ts'
import { writeHostPodsOnChange } from '../../node-guard/broker/kubernetes/host-pods.ts'
import { type PodRecord, podRecord } from '../../node-guard/broker/kubernetes/pod.ts'
import type { Pods } from '../../node-guard/broker/kubernetes/pods.ts'
import type { BrokerSettings } from '../../node-guard/broker/settings.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { captureLog } from '../support/log.ts'
import { until } from '../support/until.ts'

let parent = ''
let directory = ''
let stopping: AbortController
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'host-pods-'))
  directory = join(parent, 'shared')
  stopping = new AbortController()
})
afterEach(async () => {
  stopping.abort()
  await rm(parent, { recursive: true })
})

const POD = podRecord(
  { metadata: { uid: 'aa-1', namespace: 'a', name: 'b' }, spec: { hostNetwork: true } },
  'role',
)

/** Writes lists of these pods; `attempts` counts how often a list is made. */
function writing({ synced = true } = {}) {
  const clock = fakeClock()
  const { log, lines } = captureLog('error')
  const pods: PodRecord[] = []
  const seen = { attempts: 0, synced }
  let changed = () => {}
  const store: Pick<Pods, 'all' | 'subscribe'> = {
    all: () => {
      seen.attempts++
      return pods[Symbol.iterator]()
    },
    subscribe: (listener) => {
      changed = () => listener.gone('any')
    },
  }
  const unused = () => Promise.reject(new Error('unused'))
  const kube = {
    get: async () => ({ items: [], metadata: { resourceVersion: '1' } }),
    send: unused,
    // biome-ignore lint/correctness/useYield: a watch that brings nothing
    stream: async function* (_path: string, _query: object, signal: AbortSignal) {
      await once(signal, 'abort')
    },
    close: () => {},
  }
  writeHostPodsOnChange(
    { hostPodsDir: directory, hostNetworkAllowed: [] as readonly string[] } as BrokerSettings,
    {
      ...{ kube, clock, log, signal: stopping.signal, pods: store as Pods, podsSynced: () => seen.synced },
    },
  )
  return { clock, lines, pods, seen, changed: () => changed() }
}

/** Lets everything happen that does not wait for the clock. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await stat(parent)
}

test('while the directory cannot be written, changes cause no attempts, and the attempts become rare', async () => {
  const { clock, lines, changed, seen } = writing()
  const longest: number[] = []
  for (let failures = 1; failures <= 12; failures++) {
    await until('the failure is logged', () => lines.length === failures)
    assert.match(String(lines[0]?.detail), /cannot be written to .*mount a writable directory there/)
    await settled()
    for (let time = 0; time < 20; time++) changed()
    await settled()
    assert.equal(seen.attempts, failures)
    longest.push(clock.next())
    await clock.advance(clock.next())
  }
  assert.ok(Math.max(...longest.slice(0, 1)) <= 500, `${longest}`)
  assert.ok(Math.max(...longest) > 2_000 && Math.max(...longest) <= 10_000, `${longest}`)
  await mkdir(directory)
  await until('written', async () => {
    await clock.advance(clock.next())
    return (await readHostPods(directory)).ok
  })
  await settled()
  const failures = lines.length
  await rm(directory, { recursive: true })
  changed()
  await settled()
  assert.equal(lines.length, failures, 'an unchanged list is not written')
})

test('changes during a write cause one more, and a list that is the same is not written', async () => {
  await mkdir(directory)
  const { pods, changed, seen } = writing()
  await until('written', async () => (await readHostPods(directory)).ok)
  await settled()
  assert.equal(seen.attempts, 1)
  // The first of them begins another write.
  for (let time = 0; time < 20; time++) changed()
  await settled()
  assert.equal(seen.attempts, 3)
  const inode = async () => (await stat(join(directory, 'host-pods.json'))).ino
  const before = await inode()
  changed()
  await settled()
  assert.deepEqual([seen.attempts, await inode()], [4, before])
  pods.push(POD ?? assert.fail())
  changed()
  await until('the pod is listed', async () => {
    const read = await readHostPods(directory)
    return read.ok && read.pods.length === 1
  })
})

test('nothing is written before both lists have arrived, nor after the end', async () => {
  await mkdir(directory)
  const { clock, seen, changed } = writing({ synced: false })
  await settled()
  changed()
  await clock.advance(10_000)
  await settled()
  assert.equal(seen.attempts, 0)
  seen.synced = true
  await clock.advance(500)
  await until('written', async () => (await readHostPods(directory)).ok)
  await settled()
  stopping.abort()
  changed()
  await settled()
  assert.equal(seen.attempts, 1)
})
