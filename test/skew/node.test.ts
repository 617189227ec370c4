/**
 * Neighbouring releases on one node: the guard of one with the gate and sidecar of the other, and guards that take over
 * from each other, in an upgrade and a rollback.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { BROKER_LINK, METADATA_ADDRESSES, SIDECAR_HEALTH_PORT } from '../../common/addresses.ts'
import { NET_ADMIN_ONLY, NO_CAPABILITY, startGuard } from '../firewall/guard-process.ts'
import { flushPod } from '../firewall/mesh.ts'
import { openNode, type TestNode } from '../firewall/node.ts'
import { needsNamespaces } from '../sandbox/node/namespace-support.ts'
import { execIn, spawnIn } from '../sandbox/node/process.ts'
import { until } from '../support/until.ts'
import { admitted, type Container, containerOf, type EnvVar } from './admitted.ts'
import { CROSSED, openReleases, type Releases, SIDES, type Side } from './releases.ts'

const BACKENDS = ['nft', 'iptables'] as const
/** The kernel's own words for a refusal. */
const REFUSED = 'ECONNREFUSED'

describe('between neighbouring releases on one node', needsNamespaces(), () => {
  let node: TestNode
  let releases: Releases
  let directory: string

  before(async () => {
    ;[node, releases] = await Promise.all([openNode(), openReleases('firewall', 'sidecar')])
    directory = mkdtempSync(join(tmpdir(), 'pod2iam-node-'))
    const aws = await node.agent('aws')
    for (const host of ['0.0.0.0', '::']) await aws.listen({ host, port: 80, name: 'aws' })
  })
  after(async () => {
    releases?.remove()
    await node?.close()
    rmSync(directory, { recursive: true, force: true })
  })
  afterEach(() => flushPod(node))

  const guard = async (side: Side, ...flags: string[]) => {
    const state = `--state-dir=${mkdtempSync(join(directory, 'state-'))}`
    const running = await startGuard(node, [state, ...flags], NET_ADMIN_ONLY, releases.file(side, 'firewall'))
    return running
  }
  /** Removes all rules of ours by the program of a release, and gives what is left. */
  const removedBy = async (side: Side): Promise<string> => {
    assert.notEqual(await ours(), '', 'there is something to remove')
    await node.must('node', [process.execPath, releases.file(side, 'firewall'), 'remove', '--open-this-node'])
    return ours()
  }
  const ours = async (): Promise<string> => {
    const rules = await node.must('node', ['nft', 'list', 'ruleset'])
    const tables = [...rules.matchAll(/^table (\S+ \S*pod2iam\S*)/gm)].map(([, name]) => name)
    const chains = [...rules.matchAll(/chain (\S*(?:POD2IAM|pod2iam)\S*)/g)].map(([, name]) => name)
    const link = await node.run('node', ['ip', 'link', 'show', BROKER_LINK])
    return [...tables, ...chains, ...(link.code === 0 ? [BROKER_LINK] : [])].join(' ')
  }
  const reaches = async () => {
    const pod = await node.agent('pod1')
    const outcomes = METADATA_ADDRESSES.map(async (host) => (await pod.tcp({ host, port: 80 })).outcome)
    return Promise.all(outcomes)
  }

  const gateOf = (side: Side, name: string) =>
    admitted(side, name).spec.initContainers.find((one) => one.name === 'pod2iam-gate')

  /**
   * Runs the gate's container as it was admitted, with the sidecar's, whose application does not wait for credentials. In a
   * pod without a gate it runs only the sidecar's, until that lets the pod start.
   */
  const startPod = async (ofPod: Side, ofSidecar: Side, name: string) => {
    const gate = gateOf(ofPod, name)
    const own = mkdtempSync(join(directory, 'pod-'))
    writeFileSync(join(own, 'token'), 'a.b.c')
    const variables = (of: readonly EnvVar[] = []) =>
      Object.fromEntries(of.map(({ name, value = '' }) => [name, value]))
    // Replaces the file in /dev/shm, which belongs to the machine here.
    const started = join(own, 'started')
    const ofContainer = variables(containerOf(admitted(ofSidecar, name), 'pod2iam-sidecar').env)
    const sidecar = spawnIn(node.machine, 'pod1', [process.execPath, releases.file(ofSidecar, 'sidecar')], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: {
        ...ofContainer,
        ...('POD2IAM_STARTED_FILE' in ofContainer ? { POD2IAM_STARTED_FILE: started } : {}),
        POD2IAM_STARTUP_GATE: 'off',
        POD2IAM_TOKEN_FILE: join(own, 'token'),
        POD2IAM_STATE_DIR: own,
      },
    })
    const runGate = ({ args = [], env }: Container) => {
      const wrapper = args.includes('--redirect=nft') ? NET_ADMIN_ONLY : NO_CAPABILITY
      const command = [...wrapper, process.execPath, releases.file(ofPod, 'firewall'), ...args]
      const options = { env: { ...process.env, ...variables(env) }, timeout: 120_000 }
      return execIn(node.machine, 'pod1', command, options)
    }
    const isStarted = async () => {
      await until('the sidecar lets the pod start', () => existsSync(started))
      return { code: 0, stdout: '', stderr: '' }
    }
    const result = gate === undefined ? await isStarted() : await runGate(gate)
    const agent = await node.agent('pod1')
    const { body } = await agent.get({ port: SIDECAR_HEALTH_PORT, path: '/readyz' })
    sidecar.kill('SIGKILL')
    await until('the sidecar has ended', () => sidecar.exitCode !== null || sidecar.signalCode !== null)
    return { ...result, readiness: body === '' ? undefined : JSON.parse(body).code }
  }

  for (const backend of BACKENDS)
    for (const [ofGuard, ofPod] of CROSSED)
      test(`pods of ${ofPod} release start with the ${backend} guard of ${ofGuard} release, in both redirect modes`, async () => {
        const running = await guard(ofGuard, `--backend=${backend}`)
        await running.becomes('ready')
        // Without a gate the sidecar is the only container of ours in a pod.
        for (const name of ['defaults', 'setting: redirect env'])
          for (const ofSidecar of gateOf(ofPod, name) === undefined ? [ofPod] : SIDES) {
            const { code, stderr, stdout, readiness } = await startPod(ofPod, ofSidecar, name)
            assert.equal(code, 0, `${name}: ${stderr}${stdout}`)
            assert.equal(readiness, 'ready', name)
            await flushPod(node)
          }
        assert.deepEqual(await reaches(), [REFUSED, REFUSED])
        await running.end('SIGTERM')
        assert.equal(await removedBy(ofGuard), '')
      })

  for (const [ofGuard, ofPod] of CROSSED)
    test(`the gate of ${ofPod} release does not pass while the guard of ${ofGuard} release only audits`, async () => {
      const running = await guard(ofGuard, '--mode=audit')
      await running.becomes('auditing')
      const { args = [] } = containerOf(admitted(ofPod, 'defaults'), 'pod2iam-gate')
      const program = [process.execPath, releases.file(ofPod, 'firewall'), ...args, '--proof-timeout=300ms']
      const { code, stderr } = await execIn(node.machine, 'pod1', [...NET_ADMIN_ONLY, ...program])
      assert.equal(code, 1)
      assert.match(stderr, /169\.254\.169\.254 answered/)
      await running.end('SIGTERM')
      assert.equal(await removedBy(ofGuard), '')
    })

  const TAKEOVERS = [
    ['--backend=nft', '--backend=nft'],
    ['--backend=iptables', '--backend=iptables'],
    ['--backend=iptables', '--backend=nft'],
    ['--backend=nft', '--backend=iptables'],
    ['--owned-table=true', '--owned-table=true'],
  ] as const
  for (const [from, to] of CROSSED)
    for (const [then, now] of TAKEOVERS)
      test(`a guard of ${to} release (${now}) takes over from one of ${from} release (${then}) without a gap`, async () => {
        const first = await guard(from, then)
        await first.becomes('ready')
        const pod = await node.agent('pod1')
        await pod.hammer({ host: METADATA_ADDRESSES[0], port: 80 })
        // The first guard ends as abruptly as possible, and the second starts after it, as in a DaemonSet.
        await first.end('SIGKILL')
        const second = await guard(to, now)
        await second.becomes('ready')
        assert.deepEqual(await reaches(), [REFUSED, REFUSED])
        const { tried, gaps } = await pod.rest({})
        assert.ok(tried > 0)
        assert.deepEqual(gaps, [], 'no connection went through')
        assert.equal(await second.metric('block_verified'), 1)
        await second.end('SIGTERM')
        assert.equal(await removedBy(to), '', 'nothing of either is left')
        assert.deepEqual(await reaches(), ['aws', 'aws'])
      })
})
