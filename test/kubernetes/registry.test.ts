import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { serveRegistry } from './registry.ts'

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const MANIFEST = '{"schemaVersion":2}'
const BLOB = 'a layer'

let directory: string
let server: Awaited<ReturnType<typeof serveRegistry>>
let base: string

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'pod2iam-registry-'))
  mkdirSync(join(directory, 'sidecar'))
  writeFileSync(join(directory, 'sidecar', 'manifest.json'), MANIFEST)
  writeFileSync(join(directory, 'sidecar', sha256(BLOB)), BLOB)
  writeFileSync(join(directory, 'secret'), 'not an image')
  server = await serveRegistry(directory, '127.0.0.1', 0)
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v2/`
})
after(() => {
  server.closeAllConnections()
  server.close()
  rmSync(directory, { recursive: true })
})

test('an image is found in any repository that ends with its name, with any tag and for any registry', async () => {
  for (const path of ['sidecar/manifests/test', 'pod2iam/sidecar/manifests/next?ns=mirror.example']) {
    const response = await fetch(`${base}${path}`)
    assert.equal(response.status, 200)
    assert.equal(response.headers.get('docker-content-digest'), `sha256:${sha256(MANIFEST)}`)
    assert.equal(response.headers.get('content-type'), 'application/vnd.oci.image.manifest.v1+json')
    assert.equal(await response.text(), MANIFEST)
  }
})

test('HEAD returns the length of a manifest, and GET returns a blob unchanged', async () => {
  const head = await fetch(`${base}sidecar/manifests/test`, { method: 'HEAD' })
  assert.equal(head.headers.get('content-length'), String(MANIFEST.length))
  const blob = await fetch(`${base}sidecar/blobs/sha256:${sha256(BLOB)}`)
  assert.equal(await blob.text(), BLOB)
  assert.equal((await fetch(base)).status, 200)
})

test('an image that does not exist and a file outside an image are not found', async () => {
  for (const path of [
    'other/manifests/test',
    'sidecar/blobs/manifest.json',
    'sidecar/blobs/..%2f..%2fsecret',
    '../manifests/x',
  ])
    assert.equal((await fetch(`${base}${path}`)).status, 404, path)
})
