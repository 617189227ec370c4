import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { lineWriter } from '../../common/line-writer.ts'
import { LINE_KINDS, type LineKind } from '../../common/log.ts'

/** A writer to an output with `room` free bytes, which takes the part that fits, as a pipe does with more than 4 KiB. */
function writer(capacity: number, room: number, whole = false) {
  const state = { room, text: '', lost: [] as LineKind[], asked: 0 }
  const lines = lineWriter({
    writeSome: (bytes) => {
      const fits = whole && bytes.length > state.room ? 0 : Math.min(bytes.length, state.room)
      if (fits === 0) throw Object.assign(new Error('no room'), { code: 'EAGAIN' })
      state.text += Buffer.from(bytes.subarray(0, fits)).toString('latin1')
      state.room -= fits
      return fits
    },
    lossLine: ({ lines, audit }) => `lost ${lines}/${audit}\n`,
    capacity,
    onLost: (kind) => state.lost.push(kind),
    tryLater: () => {
      state.asked++
    },
  })
  return { ...lines, state }
}
const ROOM = 10_000

describe('lineWriter', () => {
  it('writes a line at once when the output takes it', () => {
    const { write, state } = writer(100, ROOM)
    write('one\n', 'info')
    assert.deepEqual([state.text, state.asked], ['one\n', 0])
  })

  it('writes short lines from one buffer, since Node’s pool of buffers took 1 MiB in every sidecar', () => {
    const behind = new Set<ArrayBufferLike>()
    const lines = lineWriter({
      writeSome: (bytes) => {
        behind.add(bytes.buffer)
        return bytes.length
      },
      lossLine: () => '',
      capacity: 100,
      onLost: () => {},
      tryLater: () => {},
    })
    for (let count = 0; count < 200; count++) lines.write(`${'x'.repeat(300)}\n`, 'info')
    assert.equal(behind.size, 1)
  })

  it('writes a line completely, whatever its length and its characters', () => {
    for (const line of ['é'.repeat(1365), '€'.repeat(1365), '😀'.repeat(2000), 'x'.repeat(9000)]) {
      let text = ''
      const lines = lineWriter({
        writeSome: (bytes) => {
          text += Buffer.from(bytes).toString()
          return bytes.length
        },
        lossLine: () => '',
        capacity: 100_000,
        onLost: () => {},
        tryLater: () => {},
      })
      lines.write(`${line}\n`, 'info')
      assert.equal(text, `${line}\n`)
    }
  })

  it('keeps lines that the output does not take, and writes them in order once it does, without waiting for a new line', () => {
    const { write, drain, state } = writer(100, 0)
    for (const line of ['one\n', 'two\n', 'three\n']) write(line, 'info')
    assert.equal(state.text, '')
    assert.ok(state.asked > 0)
    assert.equal(drain(), false)
    state.room = ROOM
    assert.equal(drain(), true)
    assert.equal(state.text, 'one\ntwo\nthree\n')
    assert.deepEqual(state.lost, [])
  })

  it('never writes a line before those that wait', () => {
    const { write, state } = writer(100, 0)
    write('one\n', 'info')
    state.room = ROOM
    write('two\n', 'audit')
    assert.equal(state.text, 'one\ntwo\n')
  })

  it('finishes a line that was written in part before it writes another, so that two lines never mix', () => {
    for (let first = 1; first < 12; first++) {
      const { write, drain, state } = writer(1000, first)
      write('a long line\n', 'info')
      assert.ok(state.asked > 0, 'the rest is written later')
      write('next\n', 'audit')
      for (let more = 0; more < 40; more++) {
        state.room = 1
        drain()
      }
      assert.equal(state.text, 'a long line\nnext\n', `${first} bytes at first`)
    }
  })

  it('resumes a line in the middle of a multi-byte character', () => {
    const { write, drain, state } = writer(1000, 3)
    write('é€😀\n', 'info')
    state.room = ROOM
    drain()
    assert.equal(Buffer.from(state.text, 'latin1').toString(), 'é€😀\n')
  })

  it('drops the least important kind of line first when memory is full, the oldest of it first, and audit lines last', () => {
    const order: LineKind[] = []
    const { write, state } = writer(LINE_KINDS.length * 3 * 10, 0)
    for (const round of [1, 2, 3])
      for (const kind of LINE_KINDS) write(`${kind} ${round}`.padEnd(9, '.').concat('\n'), kind)
    assert.deepEqual(state.lost, [])
    for (let more = 0; more < 12; more++) write(`audit x${more}`.padEnd(9).concat('\n'), 'audit')
    order.push(...state.lost)
    assert.deepEqual(
      order,
      ['debug', 'info', 'warn', 'error'].flatMap((kind) => [kind, kind, kind]),
    )
    write('error 4..\n', 'error')
    write('audit 4..\n', 'audit')
    assert.deepEqual(
      state.lost.slice(12),
      ['error', 'audit'],
      'of lines of the same kind the older one stays',
    )
  })

  it('never drops an info line to keep a debug line', () => {
    const { write, state } = writer(10, 0)
    write('info 1...\n', 'info')
    write('debug 1..\n', 'debug')
    assert.deepEqual(state.lost, ['debug'])
  })

  it('writes in the place of lost lines how many are missing, and how many of them were audit lines', () => {
    const { write, drain, state } = writer(30, 0, true)
    for (const line of ['info 1...\n', 'info 2...\n', 'info 3...\n']) write(line, 'info')
    write('audit 1..\n', 'audit')
    write('audit 2..\n', 'audit')
    write('debug 1..\n', 'debug')
    state.room = ROOM
    assert.equal(drain(), true)
    assert.equal(state.text, 'lost 2/0\ninfo 3...\naudit 1..\naudit 2..\nlost 1/0\n')
    state.text = ''
    state.room = 0
    for (let more = 0; more < 5; more++) write('audit 9..\n', 'audit')
    state.room = ROOM
    write('info 9...\n', 'info')
    assert.equal(state.text, `${'audit 9..\n'.repeat(3)}lost 2/2\ninfo 9...\n`)
  })

  it('loses a line that is longer than the whole memory, and drops no other line for it', () => {
    const { write, drain, state } = writer(20, 0)
    write('debug 1..\n', 'debug')
    write(`${'x'.repeat(50)}\n`, 'audit')
    assert.deepEqual(state.lost, ['audit'])
    state.room = ROOM
    drain()
    assert.equal(state.text, 'debug 1..\nlost 1/1\n')
  })

  it('never holds more than its capacity', () => {
    const { write, drain, state } = writer(1000, 0)
    for (let more = 0; more < 10_000; more++)
      write(`${'y'.repeat(more % 90)}\n`, LINE_KINDS[more % 5] ?? 'info')
    state.room = 100_000
    drain()
    assert.ok(state.text.replace(/lost .*\n/g, '').length <= 1000)
    const lines = state.text.split('\n').filter((line) => /^y*$/.test(line)).length - 1
    assert.equal(lines + state.lost.length, 10_000)
  })
})
