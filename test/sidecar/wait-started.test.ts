/** The start hook's program, each time run by a real shell in a mount namespace with its own /dev/shm. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { STARTED_FILE } from '../../common/addresses.ts'
import { LONG_HOLD_MS } from '../../sidecar/start/hold.ts'

const PROGRAM = fileURLToPath(new URL('../../sidecar/wait-started', import.meta.url))
const skip =
  (process.platform !== 'linux' || process.getuid?.() !== 0) &&
  'mount namespaces are made by root on Linux only'

type Run = { readonly child: ChildProcess; readonly ended: Promise<{ code: number | null; output: string }> }

describe('the start hook of a sidecar', { skip }, () => {
  let directory: string
  const children: ChildProcess[] = []
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'pod2iam-wait-'))
  })
  after(() => {
    for (const child of children) child.kill('SIGKILL')
    rmSync(directory, { recursive: true, force: true })
  })

  /** @param first shell commands that run before it in its namespace */
  const run = (first: string, path = process.env.PATH): Run => {
    const commands = `mount -t tmpfs -o mode=1777 none /dev/shm; ${first}; PATH=${path} exec ${PROGRAM}`
    const child = spawn('unshare', ['--mount', '--kill-child', '--fork', 'sh', '-ec', commands])
    children.push(child)
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => {
        output += chunk
      })
    return { child, ended: once(child, 'close').then(([code]) => ({ code, output })) }
  }
  /** Replaces `sleep` by a shell script. */
  const sleep = (name: string, body: string) => {
    const bin = mkdtempSync(join(directory, `${name}-`))
    writeFileSync(join(bin, 'sleep'), `#!/bin/sh\n${body}\n`)
    chmodSync(join(bin, 'sleep'), 0o755)
    return bin
  }

  test('is a shell script that everybody may execute and only its owner may change', () => {
    assert.equal(statSync(PROGRAM).mode & 0o7777, 0o755)
    assert.match(readFileSync(PROGRAM, 'utf8'), /^#!\/usr\/bin\/sh\n/)
  })

  test('waits for the file that the sidecar creates', () => {
    assert.ok(readFileSync(PROGRAM, 'utf8').includes(`file=${STARTED_FILE}\n`))
  })

  test('ends at once if the file exists already', async () => {
    const counted = join(directory, 'none')
    const bin = sleep('none', `echo slept >> ${counted}`)
    assert.deepEqual(await run(`: > ${STARTED_FILE}`, bin).ended, { code: 0, output: '' })
    assert.throws(() => readFileSync(counted), 'it has not slept')
  })

  test('waits until the file exists, and ends soon after that', async () => {
    const [slept, made] = [join(directory, 'slept'), join(directory, 'made')]
    // The file is created in the hundredth pause.
    const body = `echo . >> ${slept}; [ $(wc -l < ${slept}) -ne 100 ] || { : > ${STARTED_FILE}; : > ${made}; }`
    const bin = sleep('soon', body)
    assert.deepEqual(await run(':', `${bin}:${process.env.PATH}`).ended, { code: 0, output: '' })
    assert.ok(statSync(made).isFile())
    assert.equal(readFileSync(slept, 'utf8').split('\n').length - 1, 100, 'not one pause more')
  })

  test('waits for the file with the real sleep, too', async () => {
    const { child, ended } = run(`(sleep 0.3; : > ${STARTED_FILE}) & :`)
    const { code, output } = await ended
    assert.deepEqual([code, output, child.signalCode], [0, '', null])
  })

  test('checks every 20 ms at first, and gives up shortly after the sidecar must have ended', async () => {
    const slept = join(directory, 'all')
    const bin = sleep('all', `echo "$1" >> ${slept}`)
    const { code, output } = await run(':', bin).ended
    assert.equal(code, 1)
    assert.match(
      output,
      /^pod2iam: the sidecar has been waiting for 11 minutes, .*: its log says for what\n$/,
    )
    const pauses = readFileSync(slept, 'utf8').trim().split('\n').map(Number)
    assert.deepEqual(new Set(pauses.slice(0, 500)), new Set([0.02]))
    assert.ok(pauses.every((one, at) => one >= (pauses[at - 1] ?? 0) && one <= 1))
    const seconds = pauses.reduce((sum, one) => sum + one, 0)
    assert.ok(seconds > LONG_HOLD_MS / 1000 && seconds < LONG_HOLD_MS / 1000 + 60, String(seconds))
    assert.ok(pauses.length < 2000, 'it starts no more processes than that')
  })

  test('fails, instead of looping without a pause, if it cannot sleep', async () => {
    const { code } = await run(':', sleep('broken', 'exit 3')).ended
    assert.equal(code, 3)
  })
})
