/** A peer is used only if it runs. Otherwise its tests are skipped with its name and the reason. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { installed, needsPeer, peer } from './peers.ts'
import { whyBroken } from './proofs.ts'

const directory = mkdtempSync(join(tmpdir(), 'peers-'))
const PATH = process.env.PATH
after(() => rmSync(directory, { recursive: true }))
afterEach(() => {
  process.env.PATH = PATH
})

let made = 0
/** Creates a directory with a program of this name. */
const bin = (command: string, text: string) => {
  const path = join(directory, String(++made))
  mkdirSync(path)
  writeFileSync(join(path, command), text)
  chmodSync(join(path, command), 0o755)
  return path
}
const GOOD = '#!/bin/sh\necho aws-cli/2.0.1\n'

/** No machine has a program of this name. */
const COMMAND = 'aws-of-the-peers-test'
const BROKEN: Record<string, [text: string, why: RegExp]> = {
  'without its interpreter': ['#!/nowhere/python3\n', /ENOENT/],
  'without a module': [
    '#!/bin/sh\necho "Traceback (most recent call last):" >&2\necho "ModuleNotFoundError: No module named awscli" >&2\nexit 1\n',
    /exit code 1: ModuleNotFoundError: No module named awscli/,
  ],
  'that is a shim of a missing version': [
    '#!/bin/sh\necho "pyenv: aws: command not found" >&2\nexit 127\n',
    /exit code 127: pyenv/,
  ],
  'that is killed': ['#!/bin/sh\nkill -9 $$\n', /SIGKILL/],
  'that prints nothing': ['#!/bin/sh\n', /it said ""/],
  'that prints something else': ['#!/bin/sh\necho hello\n', /it said "hello"/],
  'that is empty': ['', /it said ""|ENOEXEC/],
}
for (const [what, [text, why]] of Object.entries(BROKEN))
  test(`a peer ${what} is not used`, () => {
    process.env.PATH = `${bin(COMMAND, text)}:${PATH}`
    assert.equal(peer(COMMAND), undefined)
    const { skip = '' } = needsPeer(COMMAND)
    assert.match(skip, why)
    assert.match(skip, new RegExp(`^/.+/${COMMAND} is broken \\(`))
  })

test('a peer that hangs is killed, also if it ignores SIGTERM', () => {
  const path = join(bin(COMMAND, '#!/bin/sh\ntrap "" TERM\nexec sleep 600\n'), COMMAND)
  assert.equal(whyBroken(COMMAND, path, 100), 'it did not end within 0.1 s')
})

test('the next peer that works is used if the first is broken', () => {
  const good = bin(COMMAND, GOOD)
  process.env.PATH = `${bin(COMMAND, '#!/bin/sh\nexit 1\n')}:${good}:${PATH}`
  assert.equal(peer(COMMAND), join(good, COMMAND))
  assert.deepEqual(needsPeer(COMMAND), {})
})

test('a missing peer is reported as not installed', () => {
  assert.deepEqual(needsPeer(COMMAND), { skip: `${COMMAND} is not installed (.ci/peers brings it)` })
  assert.equal(installed(COMMAND), undefined)
})

test('a client counts as broken if the AWS CLI beside it is broken', () => {
  const path = bin('aws', '#!/bin/sh\nexit 1\n')
  writeFileSync(join(path, 'whoami-cli'), '#!/bin/sh\necho "{\\"error\\":\\"exit code 1\\"}"\n')
  chmodSync(join(path, 'whoami-cli'), 0o755)
  assert.match(whyBroken('whoami-cli', join(path, 'whoami-cli')) ?? '', /^aws beside it: exit code 1/)
  writeFileSync(join(path, 'aws'), GOOD)
  assert.equal(whyBroken('whoami-cli', join(path, 'whoami-cli')), undefined)
})

test('no peer runs with the credentials of the environment', () => {
  process.env.AWS_ACCESS_KEY_ID = 'AKIDEXAMPLE'
  try {
    const path = bin(COMMAND, '#!/bin/sh\necho "1.2 $AWS_ACCESS_KEY_ID" >&2\ntest -z "$AWS_ACCESS_KEY_ID"\n')
    assert.equal(whyBroken(COMMAND, join(path, COMMAND)), undefined)
  } finally {
    delete process.env.AWS_ACCESS_KEY_ID
  }
})

test('.ci/peers refuses an unknown name instead of installing nothing', () => {
  const script = fileURLToPath(new URL('../../.ci/peers', import.meta.url))
  const env = { ...process.env, POD2IAM_PEERS: join(directory, 'none') }
  const { status, stderr } = spawnSync(script, ['helmet'], { encoding: 'utf8', env })
  assert.equal(status, 2)
  assert.match(stderr, /^peers: helmet is no peer; there are .*\bcontrol_plane\b.*\bhelm\b/)
})
