/** How long a pod's start is held, with a clock that the test controls. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import type { Proof } from '../../common/block/proof.ts'
import type { Readiness } from '../../common/health.ts'
import { type PodState, podStateOf } from '../../sidecar/broker/outcome.ts'
import { blockProofOf, type ProofMode } from '../../sidecar/start/block.ts'
import { holdStart, LONG_HOLD_MS, SHORT_HOLD_MS } from '../../sidecar/start/hold.ts'
import { fakeClock } from '../support/fake-clock.ts'
import { captureLog } from '../support/log.ts'

const directory = mkdtempSync(join(tmpdir(), 'pod2iam-hold-'))
after(() => rmSync(directory, { recursive: true, force: true }))
let files = 0

const REFUSED = { ready: false, code: 'role-not-allowed', detail: 'The namespace does not allow it.' }
const READY = { ready: true, code: 'ready' }

/** Lets settled promises continue. */
const settle = () => new Promise((done) => setImmediate(done))

function held(
  state: { readiness: Readiness; reason?: string; word: PodState },
  file = join(directory, String(files++)),
) {
  const clock = fakeClock()
  const { log, lines } = captureLog('info')
  const ends: { at: number; sentence: string }[] = []
  const hold = holdStart({
    file,
    readiness: () => state.readiness,
    blockReason: () => state.reason,
    askPod: async () => state.word,
    clock,
    log,
    giveUp: (sentence) => void ends.push({ at: clock.monotonic(), sentence }),
  })
  /** Lets time pass in steps, so that every loop gets its turn. */
  const pass = async (milliseconds: number) => {
    const until = clock.monotonic() + milliseconds
    await settle()
    while (clock.monotonic() < until) {
      clock.advanceSync(Math.min(Math.max(clock.next(), 1), until - clock.monotonic()))
      await settle()
    }
  }
  return { clock, file, lines, ends, hold, pass }
}

describe('a hold of the pod’s start', () => {
  test('creates the file when the sidecar is ready, and does nothing after that', async () => {
    const state = { readiness: REFUSED as Readiness, word: 'stays' as const }
    const { clock, file, ends, pass } = held(state)
    await pass(1000)
    assert.equal(existsSync(file), false)
    state.readiness = READY
    await pass(20)
    assert.equal(existsSync(file), true)
    await pass(LONG_HOLD_MS)
    assert.deepEqual(ends, [])
    assert.equal(clock.pending(), 0)
  })

  test('ends at once if the sidecar is ready at once', async () => {
    const { clock, file, pass } = held({ readiness: READY, word: 'unknown' })
    await pass(0)
    assert.equal(existsSync(file), true)
    assert.equal(clock.pending(), 0)
  })

  test('ends after a minute if the broker does not say whether the pod stays, and names a missing block first', async () => {
    const { ends, file, lines, clock, pass } = held({
      readiness: REFUSED,
      reason: '169.254.169.254 answered; the node guard is away',
      word: 'unknown',
    })
    await pass(SHORT_HOLD_MS - 200)
    assert.equal(ends.length, 0)
    await pass(400)
    assert.equal(ends.length, 1)
    assert.equal(ends[0]?.sentence, '169.254.169.254 answered; the node guard is away (tried for 60s)')
    assert.equal(existsSync(file), false)
    assert.equal(clock.pending(), 0, 'both loops are over')
    assert.deepEqual(
      lines.map(({ msg, waited }) => `${msg} ${waited}`),
      [10, 20, 30, 40, 50].map((second) => `the pod waits for its start ${second}s`),
    )
  })

  test('names what it waited for when it ends', async () => {
    const { ends, pass } = held({ readiness: REFUSED, word: 'unknown' })
    await pass(SHORT_HOLD_MS + 100)
    assert.equal(
      ends[0]?.sentence,
      'the sidecar was not ready after 60s (role-not-allowed: The namespace does not allow it.)',
    )
  })

  test('outlasts the kubelet’s back-off while the broker says that the pod stays', async () => {
    const { ends, pass } = held({ readiness: REFUSED, word: 'stays' })
    await pass(LONG_HOLD_MS - 200)
    assert.deepEqual(ends, [])
    await pass(400)
    assert.equal(ends.length, 1)
    assert.ok(LONG_HOLD_MS > 600_000, 'after ten minutes the back-off begins again')
  })

  test('ends soon after the broker has stopped answering', async () => {
    const state = { readiness: REFUSED, word: 'stays' as PodState }
    const { ends, pass } = held(state)
    await pass(200_000)
    state.word = 'unknown'
    await pass(15_200)
    assert.equal(ends.length, 1)
  })

  test('ends within five seconds of the pod’s deletion', async () => {
    const state = { readiness: REFUSED, word: 'stays' as PodState }
    const { ends, pass } = held(state)
    await pass(100_000)
    state.word = 'leaves'
    await pass(5000)
    assert.deepEqual(
      ends.map(({ sentence }) => sentence),
      ['the pod is being deleted, so it is not started any more'],
    )
  })

  test('ends with the reason if the file cannot be created', async () => {
    const { ends, pass } = held({ readiness: READY, word: 'unknown' }, join(directory, 'none', 'file'))
    await pass(10)
    assert.match(
      ends[0]?.sentence ?? '',
      /^.*none\/file, which lets the pod's start continue, cannot be created \(ENOENT/,
    )
  })
})

describe('the broker’s answer about the pod', () => {
  const answer = (status: number, body: string) =>
    podStateOf({ kind: 'answer', status, body, retryAfter: undefined, cacheControl: undefined })

  test('means that the pod leaves, that it stays, or nothing if it is not understood', () => {
    assert.equal(answer(200, '{"terminating":true}'), 'leaves')
    assert.equal(answer(200, '{"terminating":false}'), 'stays')
    for (const [status, body] of [
      [404, ''],
      [503, '{"code":"busy"}'],
      [200, 'null'],
      [200, '{}'],
      [200, '<'],
    ] as const)
      assert.equal(answer(status, body), 'unknown', body)
    assert.equal(podStateOf({ kind: 'failure', code: 'broker-unreachable', detail: '' }), 'unknown')
  })
})

describe('the check that the block is in place', () => {
  const SEEN: Proof = { refused: false, dialled: ['169.254.169.254'], seen: '169.254.169.254 answered' }
  const PROVEN: Proof = { refused: true, dialled: ['169.254.169.254'], seen: '' }

  function proving(mode: ProofMode, rounds: Proof[]) {
    const clock = fakeClock()
    const { log, lines } = captureLog('info')
    const prove = async () => rounds.shift() ?? assert.fail('checked once more')
    const proof = blockProofOf({ mode, prove, clock, log })
    return { proof, clock, messages: () => lines.map(({ msg }) => msg) }
  }

  test('is repeated until the endpoint refuses connections, and shows its last result until then', async () => {
    const { proof, clock, messages } = proving('enforce', [SEEN, SEEN, PROVEN])
    proof.start()
    await settle()
    assert.equal(proof.passed(), false)
    assert.match(proof.reason() ?? '', /^169\.254\.169\.254 answered; the node guard does not block/)
    for (let round = 0; round < 5; round++) {
      clock.advanceSync(1000)
      await settle()
    }
    assert.equal(proof.passed(), true)
    assert.equal(proof.reason(), undefined)
    assert.deepEqual(messages(), ['block proven'])
    assert.equal(clock.pending(), 0)
  })

  test('is done once and always passes with --proof=report', async () => {
    const { proof, messages } = proving('report', [SEEN])
    proof.start()
    await settle()
    assert.equal(proof.passed(), true)
    assert.deepEqual(messages(), ['block not proven, going on (--proof=report)'])
  })

  test('is left to the gate with --proof=off', () => {
    const { proof } = proving('off', [])
    proof.start()
    assert.equal(proof.passed(), true)
  })
})
