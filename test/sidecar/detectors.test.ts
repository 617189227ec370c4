/** OpenTelemetry's own EC2 detectors with 169.254.169.254 behind the redirect. Both return nothing at all if one leaf is missing. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { systemClock } from '../../common/clock.ts'
import { imdsClient } from '../../node-guard/broker/instance/imds.ts'
import { partsOf, readPart } from '../../node-guard/broker/instance/metadata.ts'
import { needsPeer, peer } from '../peers/peers.ts'
import { Aws } from '../sandbox/aws/client.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { openWorkshop, type Workshop } from './support/index.ts'

const needs = { ...needsPeer('nft'), ...needsPeer('unshare'), ...needsNamespaces('root') }
const DETECTORS = {
  JavaScript: { argv: [process.execPath, join(import.meta.dirname, 'detectors/detect.ts')], needs: {} },
  Python: { argv: [peer('detect-opentelemetry') ?? ''], needs: needsPeer('detect-opentelemetry') },
}

describe('an OpenTelemetry detector', needs, () => {
  let aws: Aws
  let workshop: Workshop
  let nodeMetadata: Readonly<Record<string, string>>

  before(async () => {
    ;[aws, workshop] = await Promise.all([Aws.start(), openWorkshop()])
    const imds = imdsClient(aws.imdsUrl, systemClock)
    const [listed] = partsOf([])
    nodeMetadata = (await readPart(imds, listed ?? assert.fail())).values
    imds.close()
  })
  after(async () => {
    workshop?.remove()
    await aws?.stop()
  })

  /** What a detector finds in a pod whose sidecar has this metadata. */
  async function detect(argv: readonly string[], metadata: object): Promise<Record<string, string>> {
    const file = join(workshop.directory, 'metadata.json')
    writeFileSync(file, JSON.stringify(metadata))
    const script = join(import.meta.dirname, 'support/detected.ts')
    const { directory, bundle, tokenFile } = workshop
    const inside = [process.execPath, script, directory, bundle, tokenFile, file, JSON.stringify([argv])]
    const { stdout } = await promisify(execFile)('unshare', ['--net', ...inside], { timeout: 120_000 })
    const [found] = JSON.parse(stdout)
    return found
  }

  for (const [language, detector] of Object.entries(DETECTORS))
    test(
      `for ${language} finds the same as on the node, and nothing without hostname`,
      detector.needs,
      async () => {
        const { config } = aws
        assert.deepEqual(await detect(detector.argv, nodeMetadata), {
          'cloud.provider': 'aws',
          'cloud.platform': 'aws_ec2',
          'cloud.account.id': config.account,
          'cloud.region': config.region,
          'cloud.availability_zone': config.availabilityZone,
          'host.id': config.instanceId,
          'host.type': config.instanceType,
          'host.name': nodeMetadata.hostname,
        })
        const { hostname, ...before } = nodeMetadata
        assert.equal(hostname, 'ip-10-0-0-10.eu-west-1.compute.internal')
        assert.deepEqual(await detect(detector.argv, before), {})
      },
    )
})
