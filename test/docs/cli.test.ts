/**
 * docs/cli.md shows what the program really prints, and names every code that it has. UPDATE_GOLDEN=1 writes the outputs again.
 * The `pod2iam` commands in the guides are run here, too.
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Door, openDoor, PROGRAM, run, runCommand } from '../cli/support.ts'
import { type Cluster, createCluster, IDLE_IMAGE } from '../sandbox/cluster.ts'
import { isReady, needsNamespaces } from '../sandbox/index.ts'
import { codeSpans, PAGES, PROJECT, page } from './markdown.ts'

const FILE = 'docs/cli.md'
const ROLE = 'iam.amazonaws.com/role'

const MONTHLY = `apiVersion: v1
kind: Namespace
metadata:
  name: reports
  labels: {pod2iam.dev/injection: enabled}
  annotations: {iam.amazonaws.com/allowed-roles: '["reports-*"]'}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: monthly, namespace: reports}
spec:
  schedule: 0 4 1 * *
  jobTemplate:
    spec:
      template:
        metadata:
          annotations: {iam.amazonaws.com/role: reports-reader, pod2iam.dev/redirekt: env}
        spec:
          restartPolicy: Never
          containers: [{name: app, image: "registry.example/reports:1"}]
`

const deployment = (namespace: string, name: string, annotations: object) => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name, namespace },
  spec: {
    replicas: 1,
    selector: { matchLabels: { app: name } },
    template: {
      metadata: { labels: { app: name }, annotations },
      spec: { containers: [{ name: 'app', image: IDLE_IMAGE }] },
    },
  },
})

/** The text without what differs from run to run. */
const settled = (text: string) =>
  text
    .replace(/\d{4}-\d\d-\d\d/g, 'DATE')
    .replace(/in \d+ min/g, 'in N min')
    .replace(/(direct|dnat) +\d+ +(just now|\d+ min ago)/g, '$1 N AGO')
    .replace(/(yes \(\w+\) +\w+ +)\d+ +\d+/g, '$1N N')

describe('docs/cli.md', needsNamespaces(), () => {
  let directory = ''
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'pod2iam-docs-cli-'))
    await writeFile(join(directory, 'monthly.yaml'), MONTHLY)
    await symlink(PROGRAM, join(directory, 'pod2iam'))
  })
  after(() => rm(directory, { recursive: true, force: true }))

  /** Compares the outputs of these commands on the page with what they print now. */
  async function compare(kubeconfig: string, isMine: (command: string) => boolean): Promise<void> {
    const blocks = page(FILE).blocks.filter(({ text }) => text.startsWith('$ pod2iam '))
    for (const { at, text } of blocks) {
      const [first = ''] = text.split('\n')
      const command = first.replace(/^\$ pod2iam /, '')
      if (!isMine(command)) continue
      const { stdout, stderr } = await run(command.split(' '), {
        cwd: directory,
        env: { KUBECONFIG: kubeconfig },
      })
      assert.equal(stderr, '', at)
      const now = `${first}\n${stdout.trimEnd()}\n`
      if (process.env.UPDATE_GOLDEN === '1') {
        const path = join(PROJECT, FILE)
        await writeFile(
          path,
          readFileSync(path, 'utf8').replace(`\`\`\`text\n${text}\`\`\``, `\`\`\`text\n${now}\`\`\``),
        )
      } else assert.equal(settled(text), settled(now), at)
    }
  }

  /** Runs every line of the guides that calls the program; exit code 1 is a finding, and allowed. */
  async function runGuides(kubeconfig: string, isMine: (command: string) => boolean): Promise<number> {
    const lines = PAGES.flatMap(({ blocks }) => blocks)
      .filter(({ language, tag }) => language === 'sh' && tag === 'pod2iam')
      .flatMap(({ at, text }) =>
        text
          .trim()
          .split('\n')
          .map((line) => ({ at, line })),
      )
      .filter(({ line }) => isMine(line))
    const env = {
      KUBECONFIG: kubeconfig,
      PATH: `${directory}:${join(process.execPath, '..')}:${process.env.PATH}`,
    }
    for (const { at, line } of lines) {
      const { code, stderr, stdout } = await runCommand(['/bin/sh', '-c', line], { env })
      assert.ok(code === 0 || code === 1, `${at}: ${line}: ${code} ${stderr}`)
      assert.notEqual(stdout, '', at)
    }
    return lines.length
  }

  test('shows what each command prints for a cluster whose guards enforce', async () => {
    const cluster = await createCluster({ injectorArgs: ['--base-role-arn=arn:aws:iam::111111111111:role/'] })
    const door = await openDoor(cluster.api)
    try {
      await cluster.role('reports-reader')
      await cluster.namespace('reports', { allowed: ['reports-*'] })
      const nightly = await cluster.pod('reports/nightly', { annotations: { [ROLE]: 'reports-reader' } })
      await cluster.pods.waitFor(nightly, isReady)
      await cluster.pod('reports/weekly', { annotations: { [ROLE]: 'reports-writer' } })
      await cluster.kube.create(deployment('reports', 'invoices', { [ROLE]: 'billing' }))
      const kubeconfig = await door.kubeconfig({ namespace: 'reports' })
      await isDenied(kubeconfig)
      await compare(kubeconfig, (command) => command !== 'audit')
      assert.ok((await runGuides(kubeconfig, (line) => line !== 'pod2iam audit')) >= 4)
    } finally {
      await door.close()
      await cluster.close()
    }
  })

  /** Waits until the sidecar has received the broker's refusal, and the gate has logged that it waits for the sidecar. */
  async function isDenied(kubeconfig: string): Promise<void> {
    const deadline = Date.now() + 60_000
    for (;;) {
      const { stdout } = await run(['explain', 'weekly'], { env: { KUBECONFIG: kubeconfig } })
      if (stdout.includes('has credentials: sts-denied') && stdout.includes('and waits for the sidecar'))
        return
      assert.ok(Date.now() < deadline, stdout)
    }
  }

  test('shows what audit prints for a cluster in audit mode', async () => {
    const cluster = await createCluster({ firewallArgs: ['--mode=audit', '--poll-interval=1s'] })
    let door: Door | undefined
    try {
      door = await openDoor(cluster.api)
      const kubeconfig = await door.kubeconfig()
      await cluster.namespace('legacy', { label: null })
      for (const [name, annotations] of [
        ['exporter', {}],
        ['importer', { [ROLE]: 'importer' }],
      ] as const) {
        await cluster.kube.create(deployment('legacy', name, annotations))
        const pod = await podOf(cluster, name)
        await cluster.exec(cluster.pods.network(pod), ['curl', '-s', '-m2', 'http://169.254.169.254/'])
      }
      const deadline = Date.now() + 60_000
      for (;;) {
        const { stdout } = await run(['audit', '-o', 'json'], { env: { KUBECONFIG: kubeconfig } })
        if (JSON.parse(stdout).seen.length === 2) break
        assert.ok(Date.now() < deadline, stdout)
      }
      await compare(kubeconfig, (command) => command === 'audit')
      assert.ok((await runGuides(kubeconfig, (line) => line === 'pod2iam audit')) >= 1)
    } finally {
      await door?.close()
      await cluster.close()
    }
  })

  async function podOf(cluster: Cluster, name: string): Promise<string> {
    const deadline = Date.now() + 60_000
    for (;;) {
      const { items } = await cluster.kube.list('pods', { namespace: 'legacy', labelSelector: `app=${name}` })
      const pod = items[0]?.metadata.name
      if (pod !== undefined) {
        await cluster.pods.waitFor(`legacy/${pod}`, isReady)
        return `legacy/${pod}`
      }
      assert.ok(Date.now() < deadline, `no pod of ${name}`)
    }
  }
})

test('every block of text is an output in docs/cli.md, which is compared', () => {
  const blocks = PAGES.flatMap(({ file, blocks }) => blocks.map((block) => ({ file, ...block })))
  for (const { file, at, text } of blocks.filter(({ language }) => language === 'text')) {
    assert.equal(file, FILE, at)
    assert.match(text, /^\$ pod2iam \w/, at)
  }
})

test('docs/cli.md has every code of the program and no other', () => {
  const sources = globSync('cli/**/*.ts', { cwd: PROJECT }).map((file) =>
    readFileSync(join(PROJECT, file), 'utf8'),
  )
  const said = sources.flatMap((text) =>
    [...text.matchAll(/(?:failed|warning|new CliError)\(\s*'([a-z0-9-]+)'|\bcode: '([a-z-]+)'/g)].map(
      ([, one, other]) => one ?? other ?? '',
    ),
  )
  // These codes are built from the name of the container.
  const codes = new Set([...said, 'guard-not-ready', 'broker-not-ready'])
  const { prose } = page(FILE)
  const table = prose.slice(prose.indexOf('## Codes'))
  const documented = new Set(
    [...table.matchAll(/^\| (`[^|]+) \|/gm)].flatMap(([, cell = '']) => codeSpans(cell)),
  )
  assert.deepEqual([...documented].sort(), [...codes].sort())
})
