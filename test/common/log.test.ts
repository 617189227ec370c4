import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { describe, it } from 'node:test'
import { LOG_LEVELS, type LogLevel, lineLogger } from '../../common/log.ts'

const AT = Date.UTC(2026, 10, 24, 8, 0, 0, 5)

function logged(level: LogLevel): { lines: string[]; log: ReturnType<typeof lineLogger> } {
  const lines: string[] = []
  return {
    lines,
    log: lineLogger(
      'sidecar',
      level,
      (line) => lines.push(line),
      () => AT,
    ),
  }
}

describe('lineLogger', () => {
  it('writes one JSON object per line, time and level first', () => {
    const { lines, log } = logged('info')
    log.info('credentials issued', { pod: 'shop/orders', ms: 4 })
    assert.deepEqual(lines, [
      '{"time":"2026-11-24T08:00:00.005Z","level":"info","component":"sidecar","msg":"credentials issued","pod":"shop/orders","ms":4}\n',
    ])
  })

  for (const [index, level] of LOG_LEVELS.entries())
    it(`at level ${level} writes that level and above`, () => {
      const { lines, log } = logged(level)
      for (const each of LOG_LEVELS) log[each](each)
      assert.deepEqual(
        lines.map((line) => JSON.parse(line).msg),
        LOG_LEVELS.slice(index),
      )
    })

  it('keeps a message with line breaks and quotes on one line', () => {
    const { lines, log } = logged('debug')
    log.warn('two\nlines', { path: 'a"b\u2028c' })
    assert.equal(lines[0]?.split('\n').length, 2)
    assert.deepEqual(JSON.parse(lines[0] ?? '').path, 'a"b\u2028c')
  })

  it('leaves out what is undefined', () => {
    const { lines, log } = logged('info')
    log.error('x', { detail: undefined })
    assert.equal('detail' in JSON.parse(lines[0] ?? ''), false)
  })
})

describe('pinoLogger', () => {
  const run = (level: LogLevel, code: string) => {
    const program = `import { pinoLogger } from '${new URL('../../common/pino-log.ts', import.meta.url)}'
      const log = pinoLogger('broker', '${level}'); ${code}`
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      encoding: 'utf8',
    })
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))
  }

  it('writes the same format as lineLogger', () => {
    const [line] = run('info', `log.info('credentials issued', { pod: 'shop/orders' })`)
    const { time, ...rest } = line
    assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    assert.deepEqual(rest, {
      level: 'info',
      component: 'broker',
      pod: 'shop/orders',
      msg: 'credentials issued',
    })
  })

  it('has the same levels', () => {
    const lines = run('warn', `for (const each of ['debug', 'info', 'warn', 'error']) log[each](each)`)
    assert.deepEqual(
      lines.map(({ msg }) => msg),
      ['warn', 'error'],
    )
  })

  it('has written its last line when the process exits at once', () => {
    assert.equal(run('info', `log.info('last'); process.exit(3)`)[0]?.msg, 'last')
  })
})
