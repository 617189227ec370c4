/**
 * What guard and broker of neighbouring releases tell each other through files, in both directions. Both have the same
 * image, unless somebody changes an image of a running pod, whose containers are then restarted one by one.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { whyUnguarded, writeFirewallState } from '../../common/firewall-state.ts'
import { httpRequest } from '../../common/http-request.ts'
import { CREDENTIALS_PATH } from '../../common/protocol.ts'
import { NO_PACKETS } from '../../node-guard/firewall/backend/counts.ts'
import { NO_REPAIRS } from '../../node-guard/firewall/block/block.ts'
import { firewallStateOf, type GuardReport, statusOf } from '../../node-guard/firewall/report/report.ts'
import { readStatus, writeStatus } from '../../node-guard/firewall/status/file.ts'
import { NODE, World } from '../broker/world.ts'
import { sharedFiles } from '../previous-release/recorded.ts'
import { until } from '../support/until.ts'
import { admittedBy } from './admitted.ts'
import { type Running, startBroker } from './processes.ts'
import { openReleases, type Releases, type Side } from './releases.ts'
import { createAdmitted } from './world-pods.ts'

const STATE = 'firewall.json'
const STATUS = 'firewall-status.json'

/** What a broker must conclude from each kind of report; undefined means that the node is guarded. */
const VERDICTS: Readonly<Record<string, RegExp | undefined>> = {
  enforce: undefined,
  audit: undefined,
  remove: /--mode=remove/,
  unverified: /no backend works on this node/,
}

const reportOf = (kind: string, now: number): GuardReport => ({
  mode: kind === 'audit' || kind === 'remove' ? kind : 'enforce',
  block: {
    verified: kind !== 'unverified',
    checkedAt: now,
    detail: kind === 'unverified' ? 'no backend works on this node: nft: …' : undefined,
    backend: 'nft',
    fallback: undefined,
    othersLeft: undefined,
    packets: NO_PACKETS,
    repairs: NO_REPAIRS,
  },
  owned: undefined,
  link: { up: true, changed: false },
  surroundings: { looked: true, bypass: undefined, leftovers: [], warnings: [] },
  sightings: undefined,
  // The previous release does not have this field.
  hostNetwork: {
    ...{ mode: 'audit', backend: 'nft', verified: true, repairs: 0 },
    packets: { allowed: 0, others: 0, unknown: 0 },
    pods: [],
  },
  stateFault: undefined,
  pollIntervalMs: 10_000,
})

/** A recorded file, with times as if it had just been written. */
const recorded = (kind: string, file: string): string => {
  const text = sharedFiles().find(({ of }) => of === kind)?.files[file]
  assert.ok(text, `${kind} has ${file}`)
  const now = new Date().toISOString()
  return text.replace(/("(?:verifiedAt|writtenAt)":")[^"]*/g, `$1${now}`)
}

describe('between neighbouring releases', () => {
  let directory: string
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'pod2iam-files-'))
  })
  after(() => rmSync(directory, { recursive: true, force: true }))

  test('every report of the previous release’s guard has the same meaning in this release', async () => {
    for (const [kind, verdict] of Object.entries(VERDICTS)) {
      writeFileSync(join(directory, STATE), recorded(kind, STATE))
      const why = await whyUnguarded(directory, Date.now())
      if (verdict === undefined) assert.equal(why, undefined, kind)
      else assert.match(why ?? '', verdict)
    }
  })

  test('the status of the previous release’s guard is shown by this release', async () => {
    for (const kind of Object.keys(VERDICTS)) {
      writeFileSync(join(directory, STATUS), recorded(kind, STATUS))
      const read = await readStatus(directory)
      assert.ok(read.ok, `${kind}: ${read.ok ? '' : read.detail}`)
      const { leftoversAt, hostNetwork } = read.written.status
      assert.deepEqual([leftoversAt, hostNetwork], [null, null], 'these fields were not written')
    }
  })

  test('the status of this release’s guard is shown by the previous release', async () => {
    const releases = await openReleases()
    for (const kind of Object.keys(VERDICTS)) {
      const now = Date.now()
      const written = { version: 1, writtenAt: new Date(now).toISOString(), validSeconds: 60 } as const
      await writeStatus(directory, { ...written, status: statusOf(reportOf(kind, now)) })
      const argv = [releases.file('previous', 'firewall'), 'status', '--json', `--state-dir=${directory}`]
      const { stdout, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8' })
      const { verified, mode } = JSON.parse(stdout === '' ? `"${stderr}"` : stdout)
      assert.deepEqual([verified, mode], [kind !== 'unverified', reportOf(kind, now).mode], stderr)
    }
    releases.remove()
  })
})

describe('between broker and guard of neighbouring releases', () => {
  let world: World
  let releases: Releases
  const children: ChildProcess[] = []
  before(async () => {
    ;[world, releases] = await Promise.all([World.start(), openReleases('broker')])
    await world.role('arn:aws:iam::111111111111:role/shop-orders')
  })
  after(async () => {
    for (const child of children) child.kill('SIGKILL')
    releases?.remove()
    await world?.stop()
  })

  const stateDir = () => {
    mkdirSync(join(world.directory, 'state'), { recursive: true })
    return join(world.directory, 'state')
  }
  const broker = async (side: Side): Promise<Running> => {
    const env = { PATH: process.env.PATH ?? '', ...world.aws.environment() }
    const flags = [`--node-name=${NODE}`, `--kubeconfig=${world.kubeconfig}`, `--state-dir=${stateDir()}`]
    const running = await startBroker(releases, side, env, flags)
    children.push(running.child)
    return running
  }
  const ask = async (port: number, token: string) => {
    const url = new URL(`http://127.0.0.77:${port}${CREDENTIALS_PATH}`)
    const headers = { authorization: `Bearer ${token}` }
    const { status, body } = await httpRequest(url, { headers, timeoutMs: 15_000, maxBytes: 65_536 })
    const { code, detail } = JSON.parse(body)
    return status === 200 ? 'guarded' : `${code}: ${detail}`
  }
  const pod = async () => {
    const [first] = admittedBy('this')
    assert.ok(first)
    return createAdmitted(world, first)
  }

  for (const [ofBroker, ofGuard] of [
    ['previous', 'this'],
    ['this', 'previous'],
  ] as const)
    test(`the broker of ${ofBroker} release understands every report of the guard of ${ofGuard} release`, async () => {
      const running = await broker(ofBroker)
      const { token } = await pod()
      for (const [kind, verdict] of Object.entries(VERDICTS)) {
        if (ofGuard === 'this')
          await writeFirewallState(stateDir(), firewallStateOf(reportOf(kind, Date.now())))
        else writeFileSync(join(stateDir(), STATE), recorded(kind, STATE))
        assert.match(await ask(running.port, token), verdict ?? /^guarded$/, kind)
      }
      running.child.kill('SIGKILL')
    })

  test('a broker that does not know the report’s format logs that at its start, and says it to every pod', async () => {
    const later = { ...firewallStateOf(reportOf('enforce', Date.now())), version: 2, release: '9.0.0' }
    writeFileSync(join(stateDir(), STATE), JSON.stringify(later))
    const running = await broker('this')
    const sentence =
      /has shape 2 \(its release: 9\.0\.0\), and this broker of release .* delete this node-guard pod/
    const line = await until('it is logged', () =>
      running.logs.find(({ msg }) => msg === 'the firewall is of another release'),
    )
    assert.deepEqual([line.level, line.code], ['error', 'node-unguarded'])
    assert.match(String(line.detail), sentence)
    assert.match(await ask(running.port, (await pod()).token), sentence)
    running.child.kill('SIGKILL')
  })
})
