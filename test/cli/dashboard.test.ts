/** `dashboard` as an operator runs it, with a cluster in which pod2iam is installed. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Cluster, createCluster } from '../sandbox/cluster.ts'
import { hasPhase, isReady, needsNamespaces } from '../sandbox/index.ts'
import { until } from '../support/until.ts'
import { needsBrowser, openBrowser } from './browser.ts'
import { ask } from './dashboard-fixture.ts'
import { type Door, openDoor, PROGRAM, run, userWith } from './support.ts'

const ROLE = 'iam.amazonaws.com/role'

type Started = {
  readonly url: string
  readonly child: ChildProcess
  readonly end: () => Promise<number | null>
}

/** Starts the program, which runs until it is ended; `env` is its whole environment. */
async function start(
  args: readonly string[],
  more: readonly string[] = [],
  env: Record<string, string> = {},
): Promise<Started> {
  const child = spawn(process.execPath, [PROGRAM, ...args, 'dashboard', '--interval=1', ...more], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH, HOME: '/nonexistent', ...env },
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text
  })
  const url = await until('the address', () => /^http:\/\/127\.0\.0\.1:\d+\/$/m.exec(output)?.[0])
  return {
    url,
    child,
    end: () =>
      new Promise((resolve) => {
        child.once('close', resolve)
        child.kill('SIGINT')
      }),
  }
}

const words = (markup: string) =>
  markup
    .replace(/<(script|style)>.*?<\/\1>/gs, ' ')
    .replace(/<[^>]*>/g, ' ')
    .replaceAll('&#39;', "'")
    .replace(/\s+/g, ' ')

describe('dashboard', needsNamespaces(), () => {
  let cluster: Cluster
  let door: Door
  let program: Started
  let kubeconfig = ''

  before(async () => {
    cluster = await createCluster({ firewallArgs: ['--poll-interval=1s'] })
    door = await openDoor(cluster.api)
    kubeconfig = await door.kubeconfig()
    await cluster.role('shop-orders')
    const allowed = ['shop-*', 'arn:aws:iam::111111111111:role/shop-*']
    await cluster.namespace('shop', { allowed })
    const annotations = { [ROLE]: cluster.aws.roleArn('shop-orders') }
    await cluster.pods.waitFor(await cluster.pod('shop/orders', { annotations }), isReady)
    program = await start(['--kubeconfig', kubeconfig])
  })
  after(async () => {
    await program?.end()
    await door?.close()
    await cluster?.close()
  })

  const shown = async (url = program.url) => words((await ask(url)).body)
  /** Reloads the page until it contains the pattern. */
  const shows = (pattern: RegExp, url = program.url) =>
    until(`the page has ${pattern}`, async () => {
      const text = await shown(url)
      return pattern.test(text) && text
    })

  test('shows that the node is blocked, and the role, the session and the expiry of the pod', async () => {
    const text = await shows(/has credentials in \d+ min/)
    assert.match(text, /Block ✔ blocked \(\w+\) Broker ✔ ready/)
    assert.match(text, /shop-orders orders ✔ has credentials in (5\d|60) min shop\.orders/)
    assert.match(text, /Nothing is refused/)
    assert.match(text, /No node that could be asked is in audit mode/)
  })

  test('listens only on loopback', async () => {
    const { port } = new URL(program.url)
    const { host } = new URL(program.url)
    assert.equal(host, `127.0.0.1:${port}`)
    await assert.rejects(ask(`http://127.0.0.2:${port}/`), /ECONNREFUSED/)
    await assert.rejects(ask(`http://[::1]:${port}/`), /ECONNREFUSED|EADDRNOTAVAIL/)
  })

  test('shows a pod whose role AWS denies with the broker’s sentence and the remedy', async () => {
    const annotations = { [ROLE]: cluster.aws.roleArn('shop-absent') }
    const pod = await cluster.pod('shop/denied', { annotations })
    await cluster.pods.waitFor(pod, hasPhase('Pending'))
    const text = await shows(/shop\/denied Pod ✖ sts-denied/)
    assert.match(text, /✖ sts-denied (just now|\d+ min ago) STS does not let .* assume .*shop-absent/)
    assert.match(text, /Remedy: correct the role's trust policy: pod2iam trust/)
    assert.match(text, /pod2iam -n shop explain denied/)
  })

  test('shows a workload whose pods admission refuses with the injector’s sentence', async () => {
    await cluster.kube.create({
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: { name: 'forbidden', namespace: 'shop' },
      spec: {
        replicas: 1,
        selector: { matchLabels: { app: 'forbidden' } },
        template: {
          metadata: {
            labels: { app: 'forbidden' },
            annotations: { [ROLE]: 'arn:aws:iam::111111111111:role/admin' },
          },
          spec: { containers: [{ name: 'app', image: 'registry.example/idle:1' }] },
        },
      },
    })
    const text = await shows(/shop\/forbidden ReplicaSet ✖ pods-refused/)
    assert.match(text, /pods-refused (just now|\d+ min ago) [^.]*role\/admin/)
    assert.match(text, /pod2iam -n shop explain replicaset\/forbidden/)
  })

  test('does not show an Event whose names would be shell commands', async () => {
    const event = (name: string, involved: string) => ({
      ...{ apiVersion: 'v1', kind: 'Event', metadata: { name, namespace: 'shop' } },
      involvedObject: { kind: 'ReplicaSet', namespace: 'shop', name: involved },
      ...{ reason: 'FailedCreate', type: 'Warning', message: `pod2iam: about ${name}` },
    })
    await cluster.kube.create(event('hostile', 'x; touch owned'))
    await cluster.kube.create(event('harmless', 'harmless'))
    const text = await shows(/about harmless/)
    assert.doesNotMatch(text, /about hostile|touch owned/)
  })

  test('has no token of the kubeconfig and no AWS key in any response', async () => {
    const secrets = [cluster.api.adminToken]
    const sessions = await cluster.aws.sessions({ role: cluster.aws.roleArn('shop-orders') })
    assert.ok(sessions.length > 0)
    for (const path of ['', '?namespace=shop', 'nothing']) {
      const { body, headers } = await ask(program.url + path)
      const all = body + JSON.stringify(headers)
      for (const secret of secrets) assert.ok(!all.includes(secret), `a token in /${path}`)
      assert.ok(!/\b(AKIA|ASIA)[A-Z0-9]{8,}|\beyJ[\w-]+\.[\w-]+\./.test(all), `a secret in /${path}`)
      assert.ok(!/SecretAccessKey|SessionToken|BEGIN [A-Z ]*PRIVATE KEY/.test(all), `a secret in /${path}`)
    }
  })

  test('lists the missing permissions of a user, and shows the rest', async () => {
    const rules = [{ apiGroups: [''], resources: ['pods', 'namespaces'], verbs: ['get', 'list'] }]
    const token = await userWith(cluster.kube, 'half', rules)
    const half = await start(['--kubeconfig', await door.kubeconfig({ token })])
    try {
      const text = await shows(/shop-orders orders ✔ has credentials/, half.url)
      for (const missing of [
        'list nodes in all namespaces',
        'list events in all namespaces',
        'create pods/exec in namespace pod2iam-system',
        'create pods/portforward in namespace shop',
      ])
        assert.ok(text.includes(missing), `${missing} is named in ${text}`)
      assert.match(text, /Block \? not asked/)
      assert.ok(!(await ask(half.url)).body.includes(token))
    } finally {
      assert.equal(await half.end(), 0)
    }
  })

  test('opens a browser at its address only with --open', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'pod2iam-open-'))
    const opened = join(directory, 'opened')
    await writeFile(join(directory, 'xdg-open'), `#!/bin/sh\necho "$1" >>${opened}\n`, { mode: 0o755 })
    const env = { PATH: `${directory}:${process.env.PATH}` }
    try {
      const closed = await start(['--kubeconfig', kubeconfig], [], env)
      await ask(closed.url)
      await closed.end()
      const open = await start(['--kubeconfig', kubeconfig], ['--open'], env)
      const said = await until('xdg-open is run', () => existsSync(opened) && readFileSync(opened, 'utf8'))
      assert.equal(said, `${open.url}\n`)
      await open.end()
    } finally {
      await rm(directory, { recursive: true })
    }
  })

  test('ends with exit code 2 and a sentence if its port is in use or the kubeconfig is missing', async () => {
    const { port } = new URL(program.url)
    const taken = await run(['--kubeconfig', kubeconfig, 'dashboard', '--port', port])
    assert.equal(taken.code, 2)
    assert.match(taken.stderr, /cannot listen on 127\.0\.0\.1:\d+.*\n?.*\(port-unusable\)/)
    const missing = await run(['--kubeconfig', '/nonexistent', 'dashboard'])
    assert.deepEqual([missing.code, missing.stdout], [2, ''])
    assert.match(missing.stderr, /kubeconfig-missing/)
  })

  test('shows in a browser without a reload that a node has lost its rules', needsBrowser(), async () => {
    const browser = await openBrowser()
    const guard = await cluster.guard()
    try {
      const tab = await browser.newPage()
      await tab.goto(program.url)
      const node = tab.getByRole('listitem').filter({ has: tab.getByText('Broker') })
      await node.getByText('blocked (nft)').waitFor({ timeout: 120_000 })
      // A stopped guard cannot restore them.
      cluster.pods.kill(guard, 'firewall', 'SIGSTOP')
      await cluster.exec('node', ['nft', 'flush', 'ruleset'])
      await node.getByText('not blocked').waitFor({ timeout: 120_000 })
      await tab.getByText('guard-silent').first().waitFor({ timeout: 120_000 })
      cluster.pods.kill(guard, 'firewall', 'SIGCONT')
      await node.getByText('blocked (nft)').waitFor({ timeout: 120_000 })
      const repairs = await node.locator('div', { hasText: 'Repairs' }).locator('dd').textContent()
      assert.ok(Number(repairs) >= 1, `${repairs} repairs`)
    } finally {
      cluster.pods.kill(guard, 'firewall', 'SIGCONT')
      await browser.close()
    }
  })
})

describe('dashboard in audit mode', needsNamespaces(), () => {
  let cluster: Cluster
  let door: Door
  let program: Started

  before(async () => {
    cluster = await createCluster({ firewallArgs: ['--mode=audit', '--poll-interval=1s'] })
    door = await openDoor(cluster.api)
    await cluster.namespace('legacy', { label: null })
    await cluster.pods.waitFor(await cluster.pod('legacy/importer'), isReady)
    program = await start(['--kubeconfig', await door.kubeconfig()])
  })
  after(async () => {
    await program?.end()
    await door?.close()
    await cluster?.close()
  })

  test('shows which workloads use the metadata service, and what to do', async () => {
    const request = ['curl', '-s', '-m2', 'http://169.254.169.254/latest/meta-data/']
    await cluster.exec(cluster.pods.network('legacy/importer'), request)
    const text = await until('the sighting is shown', async () => {
      const shown = words((await ask(program.url)).body)
      return /Pod\/importer/.test(shown) && shown
    })
    assert.match(text, /Block ! audit only/)
    assert.match(
      text,
      /Pod\/importer legacy directly \d+ (just now|\d+ min ago) (just now|\d+ min ago) it names no role/,
    )
    assert.match(text, /1 node in audit mode/)
    const other = words((await ask(`${program.url}?namespace=shop`)).body)
    assert.match(other, /No pod has used the metadata service/)
  })
})
