import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Registry } from 'prom-client'
import { registerBuildInfo } from '../../common/build-gauge.ts'
import { buildInfoText } from '../../common/build-info.ts'
import { VERSION } from '../../common/version.ts'

test('every process shows its version in the same metric, whether prom-client or our own code writes the text', async () => {
  const registry = new Registry()
  registerBuildInfo(registry, 'broker')
  const written = buildInfoText('broker')
  assert.equal((await registry.metrics()).trim(), written.trim())
  assert.ok(written.endsWith(`\npod2iam_build_info{component="broker",version="${VERSION}"} 1\n`))
})
