/** The program as users install it: with npm without a checkout, as one executable, through krew. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { VERSION } from '../../common/version.ts'
import { PROGRAM, runCommand } from './support.ts'

const RELEASE = fileURLToPath(new URL('../../cli/release/main.ts', import.meta.url))
const NODE = process.execPath
const MANIFEST = `apiVersion: v1
kind: Namespace
metadata:
  name: reports
  labels: {pod2iam.dev/injection: enabled}
  annotations: {iam.amazonaws.com/allowed-roles: '["reports-*"]'}
---
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: reports, annotations: {iam.amazonaws.com/role: billing}}
spec: {containers: [{name: app, image: app}]}
`

let directory = ''
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pod2iam-release-'))
  await writeFile(join(directory, 'manifest.yaml'), MANIFEST)
})
after(() => rm(directory, { recursive: true, force: true }))

const release = (...args: string[]) => runCommand([NODE, RELEASE, ...args])
/** Expects the refusal of a role that the namespace does not list, which shows that the whole decision is included. */
const explains = [
  'explain',
  '-f',
  'manifest.yaml',
  '--injector-flag=--base-role-arn=arn:aws:iam::111111111111:role/',
]

async function isComplete(command: readonly string[], name = 'pod2iam') {
  const version = await runCommand([...command, '--version'])
  assert.deepEqual([version.code, version.stdout], [0, `${VERSION}\n`], version.stderr)
  const explained = await runCommand([...command, ...explains], { cwd: directory })
  assert.equal(explained.code, 1, explained.stderr)
  assert.match(explained.stdout, /role allowed: role-not-allowed/)
  const help = await runCommand([...command, '--help'])
  assert.match(help.stdout, new RegExp(`^Usage: ${name} \\[options\\]`))
  // This loads the Kubernetes client, which finds no cluster.
  const away = await runCommand([...command, '--kubeconfig', join(directory, 'none'), 'status'])
  assert.match(away.stderr, /kubeconfig-missing/)
}

test('the packed tarball runs in an empty folder, without a registry', async () => {
  const source = join(directory, 'package')
  const made = await release('package', source)
  assert.equal(made.code, 0, made.stderr)
  const env = {
    HOME: directory,
    npm_config_cache: join(directory, 'cache'),
    npm_config_update_notifier: 'false',
  }
  const packed = await runCommand(['npm', 'pack', source, '--pack-destination', directory], { env })
  assert.equal(packed.code, 0, packed.stderr)
  const tarball = (await readdir(directory)).find((file) => file.endsWith('.tgz')) ?? ''
  assert.equal(tarball, `pod2iam-${VERSION}.tgz`)
  const empty = await mkdtemp(join(directory, 'empty-'))
  const installed = await runCommand(
    ['npm', 'install', '--offline', '--no-audit', '--no-fund', join(directory, tarball)],
    { cwd: empty, env },
  )
  assert.equal(installed.code, 0, installed.stderr)
  assert.deepEqual(
    (await readdir(join(empty, 'node_modules'))).filter((name) => !name.startsWith('.')),
    ['pod2iam'],
  )
  const bin = join(empty, 'node_modules/.bin')
  await isComplete([NODE, join(bin, 'pod2iam')])
  await isComplete([NODE, join(bin, 'kubectl-pod2iam')], 'kubectl pod2iam')
  // As npx runs it: the file itself, with the first Node in the path.
  const path = { PATH: `${join(NODE, '..')}:${process.env.PATH}`, ...env }
  const npx = await runCommand(['npx', '--offline', 'pod2iam', '--version'], { cwd: empty, env: path })
  assert.deepEqual([npx.code, npx.stdout], [0, `${VERSION}\n`], npx.stderr)
})

test('the bundle of a checkout is the program, also under its name as a kubectl plugin', async () => {
  const plugin = join(directory, 'kubectl-pod2iam')
  await symlink(PROGRAM, plugin)
  await isComplete([NODE, plugin], 'kubectl pod2iam')
})

describe('one executable', { skip: process.platform === 'linux' ? undefined : 'made on Linux here' }, () => {
  test('runs without Node.js, and krew’s manifest names it by its checksum', async () => {
    const made = await release('archive', directory)
    assert.equal(made.code, 0, made.stderr)
    const archive = made.stdout.trim()
    const unpacked = await mkdtemp(join(directory, 'unpacked-'))
    assert.equal((await runCommand(['tar', '-xzf', archive, '-C', unpacked])).code, 0)
    assert.deepEqual((await readdir(unpacked)).sort(), ['LICENSE', 'kubectl-pod2iam'])
    await isComplete([join(unpacked, 'kubectl-pod2iam')], 'kubectl pod2iam')

    const url = 'https://example.com/owner/pod2iam/releases/download/v1'
    const manifest = await release('krew', directory, url)
    assert.equal(manifest.code, 0, manifest.stderr)
    const { kind, spec } = parse(await readFile(join(directory, 'pod2iam.yaml'), 'utf8'))
    assert.deepEqual(
      [kind, spec.version, spec.homepage],
      ['Plugin', `v${VERSION}`, 'https://example.com/owner/pod2iam'],
    )
    const [{ uri, sha256, bin, selector }] = spec.platforms
    const arch = process.arch === 'x64' ? 'amd64' : process.arch
    assert.deepEqual(selector.matchLabels, { os: 'linux', arch })
    assert.deepEqual([uri, bin], [`${url}/kubectl-pod2iam-linux-${arch}.tar.gz`, 'kubectl-pod2iam'])
    assert.equal(
      sha256,
      createHash('sha256')
        .update(await readFile(archive))
        .digest('hex'),
    )
    assert.ok(spec.shortDescription.length <= 50, 'krew allows fifty characters')
  })
})
