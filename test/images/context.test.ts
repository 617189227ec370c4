/** The build context has every folder that the Dockerfile copies. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

const read = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')

test('the build context has everything that the Dockerfile copies, and nothing else', () => {
  const copied = [...read('Dockerfile').matchAll(/^COPY (?!--from)(.*)$/gm)].flatMap(([, words = '']) =>
    words
      .split(' ')
      .filter((word) => !word.startsWith('--'))
      .slice(0, -1)
      .map((word) => word.replace(/\/.*$/, '')),
  )
  const admitted = [...read('.dockerignore').matchAll(/^!(.+)$/gm)].map(([, name]) => name)
  assert.deepEqual([...new Set(copied)].sort(), admitted.toSorted())
})
