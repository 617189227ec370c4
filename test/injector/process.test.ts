/** The injector as a process: its command line, readiness, reviews over TLS, and its end. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { KEYS } from '../../common/keys.ts'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import { type Authority, authority } from './certificates.ts'
import { type FakeApi, fakeApi } from './fake-api.ts'
import { type Dict, IMAGES, namespace, pod, reviewOf } from './fixtures.ts'
import { httpsClient } from './https.ts'

/** This is longer than the last test needs on a busy machine. */
const DRAIN_SECONDS = 10
const MAIN = fileURLToPath(new URL('../../injector/main.ts', import.meta.url))

describe('the injector’s command line', () => {
  const run = (...argv: string[]) =>
    spawnSync(process.execPath, [MAIN, ...argv], { encoding: 'utf8', env: {} })

  it('without images ends with code 2 and a sentence for each missing one', () => {
    const { status, stderr } = run()
    assert.equal(status, 2)
    assert.match(stderr, /--sidecar-image \(or POD2IAM_SIDECAR_IMAGE\) is required/)
    assert.match(stderr, /--node-guard-image \(or POD2IAM_NODE_GUARD_IMAGE\) is required/)
  })

  it('without certificate files ends with code 2 and says which flags to set', () => {
    const { status, stderr } = run(...IMAGES)
    assert.equal(status, 2)
    assert.match(stderr, /set --tls-cert-file and --tls-key-file/)
  })

  it('with missing certificate files ends with code 1 and a sentence', async () => {
    const api = await fakeApi({})
    const files = [
      '--tls-cert-file=/nonexistent/a',
      '--tls-key-file=/nonexistent/b',
      `--kubeconfig=${api.kubeconfig}`,
    ]
    const { status, stderr } = run(...IMAGES, ...files)
    await api.close()
    assert.equal(status, 1)
    assert.match(stderr, /^pod2iam injector: ENOENT.*\n$/)
  })

  it('with --help names every setting', () => {
    const { status, stdout } = run('--help')
    assert.equal(status, 0)
    for (const flag of ['--tls-cert-file', '--gate-proof', '--host-network-annotated', '--base-role-arn'])
      assert.match(stdout, new RegExp(`${flag} `))
  })
})

describe('the injector process', () => {
  let api: FakeApi
  let ca: Authority
  let directory: string
  let child: ChildProcess
  let ports: { webhook: number; health: number }
  let output = ''

  before(async () => {
    const { name, ...shop } = namespace()
    ;[api, ca] = await Promise.all([
      fakeApi({ [name]: shop as Record<string, Record<string, string>> }),
      authority(),
    ])
    directory = await mkdtemp(join(tmpdir(), 'pod2iam-process-'))
    const [cert, key] = [join(directory, 'tls.crt'), join(directory, 'tls.key')]
    const leaf = await ca.leaf()
    await Promise.all([writeFile(cert, leaf.cert), writeFile(key, leaf.key)])
    ports = { webhook: await freePort(), health: await freePort() }
    const argv = [
      ...['--max-old-space-size=96', MAIN, ...IMAGES, `--kubeconfig=${api.kubeconfig}`],
      ...[`--tls-cert-file=${cert}`, `--tls-key-file=${key}`],
      ...[`--port=${ports.webhook}`, `--health-port=${ports.health}`, `--drain-seconds=${DRAIN_SECONDS}`],
    ]
    child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'], env: {} })
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk
    })
    await until(() => readiness().then(({ ready }) => ready))
  })
  after(async () => {
    if (child.exitCode === null) child.kill('SIGKILL')
    await api.close()
    await rm(directory, { recursive: true, force: true })
  })

  const health = (path: string) => fetch(`http://127.0.0.1:${ports.health}${path}`)
  const readiness = (): Promise<{ ready: boolean; code?: string }> =>
    health('/readyz').then(
      async (response) => (await response.json()) as { ready: boolean; code: string },
      () => ({ ready: false }),
    )
  const review = async (object: unknown) => {
    const client = httpsClient(ca.pem)
    const answer = await client.send(ports.webhook, 'POST', '/mutate', JSON.stringify(reviewOf(object)))
    client.close()
    assert.equal(answer.status, 200, answer.body)
    return JSON.parse(answer.body).response
  }

  it('answers reviews over TLS, and reads the namespace from the API server', async () => {
    assert.equal((await review(pod())).patchType, 'JSONPatch')
    const denied = await review(pod({}, { [KEYS.role]: 'arn:aws:iam::111111111111:role/admin' }))
    assert.match(denied.status.message, /may not use role/)
  })

  it('refuses reviews while the API server fails, and recovers by itself', async () => {
    api.behave = 503
    assert.equal((await review(pod())).status.code, 503)
    api.behave = 'answer'
    assert.equal((await review(pod())).allowed, true)
  })

  it('survives expensive reviews, and answers others beside them', async () => {
    const client = httpsClient(ca.pem)
    const nested = '[[],[],[],[],[],[],[],[]],'
    const review = { ...reviewOf(pod()), padding: '' }
    const costly = (filler: string) => {
      const times = Math.floor(7_900_000 / filler.length)
      return JSON.stringify(review).replace('"padding":""', `"padding":[${filler.repeat(times)}0]`)
    }
    const clients = Array.from({ length: 6 }, () => httpsClient(ca.pem))
    const bodies = [nested, '"x",', `"${'x'.repeat(500)}",`, `${'9'.repeat(40)},`]
    const sent = clients.flatMap((one, index) =>
      one.send(ports.webhook, 'POST', '/mutate', costly(bodies[index % bodies.length] ?? '')).then(
        ({ status }) => status,
        () => 0,
      ),
    )
    // On a very busy machine the small review may not arrive within the server's ten seconds.
    const small = () =>
      client.send(ports.webhook, 'POST', '/mutate', JSON.stringify(reviewOf(pod()))).then(
        ({ status }) => status,
        () => 0,
      )
    await until(async () => [200, 503].includes(await small()))
    for (const status of await Promise.all(sent))
      assert.ok([0, 200, 408, 413, 503].includes(status), `${status}`)
    await until(async () => (await small()) === 200)
    assert.equal(child.exitCode, null)
    for (const one of [client, ...clients]) one.close()
  })

  it('counts reviews by outcome and reason, and reports when its certificate expires', async () => {
    await review(pod({ hostNetwork: true }))
    const metrics = await (await health('/metrics')).text()
    assert.match(
      metrics,
      /pod2iam_injector_reviews_total\{webhook="mutate",outcome="deny",reason="host-network"\} 1\n/,
    )
    assert.match(
      metrics,
      /pod2iam_injector_review_duration_seconds_bucket\{le="5",webhook="mutate",outcome="patch"\} [1-9]/,
    )
    assert.match(metrics, /pod2iam_injector_certificate_not_after_seconds \d{10}\n/)
    assert.doesNotMatch(metrics, /arn:aws/)
  })

  it('logs one JSON line for a review', async () => {
    const own = () => {
      // The text after the last newline is not complete yet.
      const lines = output.split('\n').slice(0, -1)
      return lines.map((line) => JSON.parse(line)).filter(({ object }) => object === 'logged')
    }
    const { metadata, ...rest } = pod() as { metadata: Dict }
    await review({ ...rest, metadata: { ...metadata, name: 'logged' } })
    // The log line may arrive later than the answer.
    await until(() => own().length > 0)
    assert.deepEqual(
      own().map(({ uid, component, level, msg }) => [uid, component, level, msg]),
      [['b9f1', 'injector', 'info', 'review']],
    )
  })

  it('is not ready after SIGTERM, still answers once on each connection, and ends with code 0', async () => {
    const [kept, fresh] = [httpsClient(ca.pem), httpsClient(ca.pem)]
    const send = (client: typeof kept) =>
      client.send(ports.webhook, 'POST', '/mutate', JSON.stringify(reviewOf(pod())))
    await send(kept)
    const ended = once(child, 'exit')
    const started = Date.now()
    assert.ok(child.kill('SIGTERM'), 'it runs')
    await until(async () => (await readiness()).code === 'draining')
    for (const [client, reused] of [
      [kept, true],
      [fresh, false],
    ] as const) {
      const answer = await send(client)
      assert.deepEqual([answer.status, answer.headers.connection, answer.reused], [200, 'close', reused])
      client.close()
    }
    assert.deepEqual(await ended, [0, null])
    const took = Date.now() - started
    assert.ok(took >= DRAIN_SECONDS * 1000 && took < 60_000, `${took} ms`)
  })
})
