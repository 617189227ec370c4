/**
 * Records a release as the tests of the next one need it (README.md). Takes a checkout of it in which `npm ci` and `npm run build` have
 * run; needs root (network namespaces) and helm: `node test/previous-release/record.ts CHECKOUT`.
 */
import { execFileSync } from 'node:child_process'
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { admissions } from './admissions.ts'
import { RECORDED, recordPrograms } from './programs.ts'
import { sharedFiles } from './shared-files.ts'
import { commandLines, metricNames } from './surface.ts'
import { brokerAnswers, sidecarRequests } from './wire.ts'

/** A JSON array with a line for each entry, so that diffs stay readable and the file small. */
const lines = (entries: readonly unknown[]) =>
  `[\n${entries.map((entry) => JSON.stringify(entry)).join(',\n')}\n]\n`

async function record(checkout: string): Promise<void> {
  const bundle = (name: string) => join(checkout, 'dist', `${name}.cjs`)
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', checkout, ...args], { encoding: 'utf8' }).trim()
  const version = execFileSync(process.execPath, [bundle('sidecar'), '--version'], {
    encoding: 'utf8',
  }).trim()
  const release = { version, commit: git('rev-parse', 'HEAD') }
  const write = (name: string, text: string) => writeFile(join(RECORDED, name), text)
  await mkdir(RECORDED, { recursive: true })
  await write('release.json', `${JSON.stringify(release)}\n`)
  await recordPrograms(checkout)
  await write('pods.json', lines(await admissions(bundle('injector'))))
  await write('sidecar-requests.json', lines(await sidecarRequests(bundle('sidecar'))))
  await write('broker-answers.json', lines(await brokerAnswers(checkout)))
  await write('shared-files.json', lines(await sharedFiles(bundle('firewall'))))
  await write('command-lines.json', lines(commandLines(checkout)))
  await write('metrics.json', lines(metricNames(checkout)))
  await copyFile(join(checkout, 'charts/pod2iam/files/policies.yaml'), join(RECORDED, 'policies.yaml'))
  await copyFile(join(checkout, 'test/chart/golden/sandbox.yaml'), join(RECORDED, 'installed.yaml'))
}

const [checkout] = process.argv.slice(2)
if (checkout === undefined)
  throw new Error('name a checkout of the release, in which `npm run build` has run')
await record(resolve(checkout))
process.exit(0)
