/** Values about pods on the host network, as operators write them. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { needsHelm, render } from './helm.ts'

const directory = mkdtempSync(join(tmpdir(), 'host-network-'))
after(() => rmSync(directory, { recursive: true, force: true }))

const renderWith = (values: string) => {
  const file = join(directory, 'values.yaml')
  writeFileSync(file, values)
  return render('sandbox', '--values', file)
}

test('guard.hostNetwork may be off without quotes, which YAML 1.1 reads as a boolean', needsHelm, () => {
  assert.equal(renderWith('guard:\n  hostNetwork: off\n'), renderWith('guard:\n  hostNetwork: "off"\n'))
  const pool = (off: string) =>
    renderWith(
      `guard:\n  hostNetwork: block\n  pools:\n    - {name: gpu, nodes: {label: pool, values: [gpu]}, guard: {hostNetwork: ${off}}}\n`,
    )
  assert.equal(pool('off'), pool('"off"'))
  assert.equal(pool('off').match(/--host-network=block/g)?.length, 1)
})

test(
  'addresses of the metadata service that the guard is given are the container’s host-network, too',
  needsHelm,
  () => {
    const text = renderWith(
      'guard:\n  hostNetwork: block\n  extraArgs: ["--metadata-address=169.254.169.253"]\n',
    )
    assert.equal(text.match(/--metadata-address=169\.254\.169\.253/g)?.length, 2)
  },
)
