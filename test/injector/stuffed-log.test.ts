/** The built injector when nobody reads its output: reviews are answered, and decisions are logged later. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { buildComponent } from '../../build.ts'
import { KEYS } from '../../common/keys.ts'
import { freePort } from '../support/free-port.ts'
import { stuffedPipe } from '../support/stuffed-pipe.ts'
import { until } from '../support/until.ts'
import { authority } from './certificates.ts'
import { fakeApi } from './fake-api.ts'
import { IMAGES, namespace, pod, reviewOf } from './fixtures.ts'
import { httpsClient } from './https.ts'

test('with a full pipe on standard output the injector answers reviews, loses none that decided, and ends with 0', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'pod2iam-stuffed-'))
  const { name, ...shop } = namespace()
  const [api, ca] = await Promise.all([
    fakeApi({ [name]: shop as Record<string, Record<string, string>> }),
    authority(),
  ])
  const pipe = stuffedPipe(directory)
  const bundle = join(directory, 'injector.cjs')
  const [cert, key] = [join(directory, 'tls.crt'), join(directory, 'tls.key')]
  const leaf = await ca.leaf()
  const ports = { webhook: await freePort(), health: await freePort() }
  await Promise.all([
    writeFile(cert, leaf.cert),
    writeFile(key, leaf.key),
    buildComponent('injector', bundle),
  ])
  const argv = [
    ...[
      bundle,
      ...IMAGES,
      `--kubeconfig=${api.kubeconfig}`,
      `--tls-cert-file=${cert}`,
      `--tls-key-file=${key}`,
    ],
    ...[`--port=${ports.webhook}`, `--health-port=${ports.health}`, '--drain-seconds=0'],
  ]
  const child = spawn(process.execPath, argv, { stdio: ['ignore', pipe.fd, pipe.fd], env: {} })
  const health = async (path: string) => fetch(`http://127.0.0.1:${ports.health}${path}`)
  const client = httpsClient(ca.pem)
  const review = async (object: unknown) => {
    const answer = await client.send(ports.webhook, 'POST', '/mutate', JSON.stringify(reviewOf(object)))
    assert.equal(answer.status, 200)
    return JSON.parse(answer.body).response
  }
  const lost = async (kind: string) =>
    Number(
      new RegExp(`^pod2iam_injector_log_lines_lost_total\\{kind="${kind}"\\} (\\d+)$`, 'm').exec(
        await (await health('/metrics')).text(),
      )?.[1],
    )
  try {
    await until(async () => (await health('/readyz').catch(() => undefined))?.ok === true)
    assert.equal((await review(pod())).patchType, 'JSONPatch')
    const denied = pod({}, { [KEYS.role]: 'arn:aws:iam::111111111111:role/admin' })
    assert.equal((await review(denied)).allowed, false)
    // A pod that is left alone is logged at info, and does not count as a decision.
    const alone = pod({}, { [KEYS.inject]: 'false' })
    for (let round = 0; round < 55; round++)
      await Promise.all(Array.from({ length: 30 }, () => review(alone)))
    assert.ok((await lost('info')) > 100)
    assert.equal(await lost('audit'), 0)
    let text = ''
    await until(async () => {
      text = pipe.drain()
      return text.includes('were lost') && text.endsWith('\n')
    })
    const lines = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    assert.deepEqual(
      lines.filter(({ audit }) => audit === true).map(({ outcome, reason }) => [outcome, reason]),
      [
        ['patch', 'injected'],
        ['deny', 'role-not-allowed'],
      ],
    )
    child.kill('SIGTERM')
    assert.deepEqual(await once(child, 'exit'), [0, null])
  } finally {
    client.close()
    child.kill('SIGKILL')
    pipe.close()
    await api.close()
    await rm(directory, { recursive: true, force: true })
  }
})
