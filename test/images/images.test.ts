/** The three images are built from the Dockerfile and run, which shows any file that a stage lacks. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { rootCertificates } from 'node:tls'
import { STARTED_FILE, WAIT_STARTED } from '../../common/addresses.ts'
import { VERSION } from '../../common/version.ts'
import { needsImageSystem } from '../peers/peers.ts'
import { BROKER_NODE_FLAGS, entrypoint } from '../sandbox/install.ts'
import { until } from '../support/until.ts'
import { type Builder, buildImages, needsBuildah, type Server, type Target } from './buildah.ts'

const BROKER = ['/nodejs/bin/node', ...BROKER_NODE_FLAGS, '/pod2iam/broker.cjs']

describe('the images', needsBuildah(), () => {
  let builder: Builder
  let files: string
  const servers: Server[] = []
  const serve = (target: Target, argv: readonly string[], options?: Parameters<Builder['serve']>[2]) => {
    const server = builder.serve(target, argv, options)
    servers.push(server)
    return server
  }

  before(() => {
    builder = buildImages()
    files = mkdtempSync(join(tmpdir(), 'pod2iam-image-files-'))
    const cluster = {
      name: 'nowhere',
      cluster: {
        server: 'https://127.0.0.1:1',
        'certificate-authority-data': Buffer.from(rootCertificates[0] ?? '').toString('base64'),
      },
    }
    const kubeconfig = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'nowhere',
      clusters: [cluster],
      users: [{ name: 'nobody', user: { token: 'none' } }],
      contexts: [{ name: 'nowhere', context: { cluster: 'nowhere', user: 'nobody' } }],
    }
    writeFileSync(join(files, 'kubeconfig'), JSON.stringify(kubeconfig))
  })
  after(async () => {
    for (const server of servers) await server.stop()
    builder?.remove()
    if (files) rmSync(files, { recursive: true })
  })

  test('have the entrypoint that the sandbox uses', () => {
    for (const target of ['sidecar', 'injector', 'node-guard'] as const)
      assert.deepEqual(builder.config(target).Entrypoint, entrypoint(target))
  })

  for (const [target, user] of [
    ['sidecar', '65532:65532'],
    ['injector', '65532:65532'],
    ['node-guard', '0:0'],
  ] as const)
    test(`have the labels and the user that they should have (${target})`, () => {
      const { User, Labels } = builder.config(target)
      assert.equal(User, user)
      const label = (name: string) => Labels[`org.opencontainers.image.${name}`]
      assert.deepEqual(
        [label('version'), label('revision'), label('licenses')],
        ['1.2.3', 'abc', 'Apache-2.0'],
      )
      assert.match(label('title') ?? '', /^pod2iam /)
    })

  test('print their version, which is all that the node guard’s pre-pull of the sidecar does', () => {
    for (const target of ['sidecar', 'injector', 'node-guard'] as const) {
      const { code, stdout, output } = builder.run(target, [...entrypoint(target), '--version'])
      // buildah may write to stderr.
      assert.deepEqual([code, stdout], [0, `${VERSION}\n`], output)
    }
  })

  test('have the operator’s program in that of the injector', () => {
    const { code, stdout, output } = builder.run('injector', [
      '/nodejs/bin/node',
      '/pod2iam/pod2iam.cjs',
      '--version',
    ])
    assert.deepEqual([code, stdout], [0, `${VERSION}\n`], output)
  })

  test('have the broker beside the firewall in that of the node guard, with its own uid', () => {
    const run = () => builder.run('node-guard', BROKER, { user: '9171:9171' })
    let { code, output } = run()
    // On a busy machine buildah may end before it has copied the output of a program that ends at once.
    for (let again = 0; again < 3 && !output.includes('pod2iam'); again++) ({ code, output } = run())
    assert.match(output, /pod2iam broker: --node-name \(or POD2IAM_NODE_NAME\) is required/)
    assert.equal(code, 2)
  })

  test('have no shell', () => {
    assert.notEqual(builder.run('node-guard', ['/bin/sh', '-c', 'true']).code, 0)
    assert.notEqual(builder.run('injector', ['/bin/sh', '-c', 'true']).code, 0)
  })

  test('have a start hook in that of the sidecar, which runs as its user and waits for its file', () => {
    // The file does not exist at first, as in a new pod sandbox.
    const made = `test ! -e ${STARTED_FILE}; (sleep 0.5; : > ${STARTED_FILE}) &`
    const { code, output } = builder.run('sidecar', ['/bin/sh', '-ec', `${made} exec ${WAIT_STARTED}`])
    assert.equal(code, 0, output)
  })

  test('run the sidecar, which serves and is not ready', async () => {
    const sidecar = serve('sidecar', entrypoint('sidecar'), { env: { POD2IAM_STATE_DIR: '/tmp' } })
    assert.match(await sidecar.ask('http://127.0.0.1:9170/livez'), /"live":true.* 200$/s)
    assert.match(await sidecar.ask('http://127.0.0.1:9170/readyz'), /"ready":false.* 503$/s)
    assert.match(await sidecar.ask('http://127.0.0.1:9169/latest/meta-data/'), / 200$/)
  })

  test('run the injector, which serves while no API server answers', async () => {
    const images = ['--sidecar-image=a', '--node-guard-image=b', '--kubeconfig=/kubeconfig']
    const authority = ['--ca-secret=n/s', '--service-name=i', '--webhook-configuration=i']
    const injector = serve('injector', [...entrypoint('injector'), ...images, ...authority], {
      volumes: [`${files}/kubeconfig:/kubeconfig`],
    })
    assert.match(await injector.ask('http://127.0.0.1:8080/readyz'), /certificate-not-ready.* 503$/s)
  })

  test('run the broker, which serves', async () => {
    const broker = serve('node-guard', [...BROKER, '--node-name=n', '--kubeconfig=/kubeconfig'], {
      user: '9171:9171',
      volumes: [`${files}/kubeconfig:/kubeconfig`],
    })
    assert.match(await broker.ask('http://127.0.0.1:9172/livez'), /"live":true.* 200$/s)
  })

  for (const backend of ['nft', 'iptables'])
    test(`run the firewall, which keeps its rules with ${backend} and finds all its programs`, async () => {
      const guard = serve('node-guard', [...entrypoint('node-guard'), 'guard', `--backend=${backend}`])
      let answer = ''
      const ready = async () => {
        answer = await guard.ask('http://127.0.0.1:9173/readyz')
        return answer.endsWith(' 200')
      }
      const status = () => JSON.parse(guard.within([...entrypoint('node-guard'), 'status', '--json']))
      // The file that status reads is written just after the guard is ready.
      const isVerified = async () => (await ready()) && status().verified === true
      await until('the firewall is ready and verified', isVerified, {
        deadlineMs: 600_000,
        pollMs: 100,
        detail: () => answer,
      })
      const rules = guard.beside(backend === 'nft' ? ['nft', 'list', 'ruleset'] : ['iptables-save'])
      assert.match(rules, /169\.254\.169\.254/)
      assert.equal(status().backend, backend === 'nft' ? 'nft' : 'iptables-nft')
    })

  describe('with the packages of Debian trixie', needsImageSystem(), () => {
    for (const [program, version] of [
      ['nft', 'nftables v1.1.3 '],
      ['iptables-nft', 'iptables v1.8.11 (nf_tables)'],
      ['iptables-legacy', 'iptables v1.8.11 (legacy)'],
      ['ip6tables-nft', 'ip6tables v1.8.11 (nf_tables)'],
    ] as const)
      test(`have ${version}`, () => {
        const { code, stdout, output } = builder.run('node-guard', [`/usr/sbin/${program}`, '--version'])
        assert.equal(code, 0, output)
        assert.ok(stdout.startsWith(version), stdout)
      })

    test('run Node with that release’s C library', () => {
      const glibc = 'process.stdout.write(process.report.getReport().header.glibcVersionRuntime)'
      for (const target of ['sidecar', 'node-guard'] as const) {
        const { stdout, output } = builder.run(target, ['/nodejs/bin/node', '-e', glibc])
        assert.equal(stdout, '2.41', output)
      }
    })
  })

  test('have the firewall’s programs for nodes without nf_tables', () => {
    for (const [program, version] of [
      ['ip6tables-legacy', '--version'],
      ['socat', '-V'],
      ['prlimit', '--version'],
      ['setpriv', '--version'],
    ] as const) {
      const { code, output } = builder.run('node-guard', [`/usr/sbin/${program}`, version])
      assert.equal(code, 0, `${program}: ${output}`)
    }
  })
})
