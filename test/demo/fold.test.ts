/** The output of the demo fits a terminal of 80 columns, and its commands can be pasted. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fold, foldCommand, WIDTH } from './fold.ts'
import { createOutput } from './output.ts'

const widest = (lines: readonly string[]) => Math.max(...lines.map(({ length }) => length))
const LOG =
  '{"time":"2026-11-29T17:39:53.457Z","level":"info","msg":"request","path":"/latest/meta-data/iam/security-credentials/arn:aws:iam::111111111111:role/datadog-agent.services.kops.domain.com","status":200}'
const SENTENCE = 'the firewall put its rules back by itself. '.repeat(5).trim()

test('a sentence is folded at spaces and keeps every word', () => {
  const lines = fold(SENTENCE, '  ✔ ', '    ')
  assert.ok(widest(lines) <= WIDTH)
  assert.equal(lines.map((line) => line.replace(/^ {2}✔/, '').trim()).join(' '), SENTENCE)
})

test('a log line is folded after commas and slashes and keeps every character', () => {
  const lines = fold(LOG, '    ')
  assert.ok(widest(lines) <= WIDTH, lines.join('\n'))
  assert.equal(lines.map((line) => line.trim()).join(''), LOG)
})

test('a line that fits is unchanged and keeps its own indent', () => {
  assert.deepEqual(fold('    "Account": "1"', '    '), ['        "Account": "1"'])
})

test('a word that cannot be folded stays whole', () => {
  const word = 'x'.repeat(100)
  assert.deepEqual(fold(word, '  '), [`  ${word}`])
  assert.deepEqual(fold(`short ${word}`, '  '), ['  short', `    ${word}`])
})

test('a folded command is still the same command for a shell', () => {
  const command = `printf '<%s>' one "two words" 'three of them' ${'four '.repeat(20).trim()} end`
  const lines = foldCommand(command, '  ')
  assert.ok(lines.length > 1 && widest(lines) <= WIDTH, lines.join('\n'))
  const run = (script: string) => spawnSync('sh', ['-c', script], { encoding: 'utf8' }).stdout
  assert.equal(run(lines.join('\n')), run(command))
})

test('a command with a comment is never folded', () => {
  const command = `true   # ${'because '.repeat(20)}`
  assert.deepEqual(foldCommand(command, '  '), [`  ${command}`])
})

test('every kind of line that the demo prints is folded', () => {
  const lines: string[] = []
  const out = createOutput((line) => lines.push(line), false)
  out.say(SENTENCE)
  out.ran(`kubectl exec ${'-n datadog '.repeat(12)}`.trim(), LOG)
  out.shows(true, SENTENCE)
  out.shows(false, SENTENCE)
  out.leftOut(SENTENCE, 'needs namespaces')
  assert.ok(widest(lines) <= WIDTH, lines.join('\n'))
  assert.deepEqual([out.shown, out.failures.length, out.omissions.length], [1, 1, 1])
})
