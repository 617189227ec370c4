/** What the images are built from reaches the builder: a folder that is copied is not left out of the context. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

const read = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8')

test('everything that the Dockerfile copies from the context is in it, and nothing else', () => {
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
