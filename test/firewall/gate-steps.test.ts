/** How long the gate waits, with a clock of its own. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasLocalRoute } from '../../common/block/dial.ts'
import { createProof, type Proof } from '../../common/block/proof.ts'
import type { LogFields, Logger } from '../../common/log.ts'
import { parseSettings } from '../../common/settings.ts'
import { parseAnswer } from '../../node-guard/firewall/gate/readiness.ts'
import { GATE_SETTINGS, type GateSettings } from '../../node-guard/firewall/gate/settings.ts'
import { type GateOptions, runSteps } from '../../node-guard/firewall/gate/steps.ts'

type Line = { readonly at: number; readonly msg: string; readonly fields: LogFields }

function settings(...argv: string[]): GateSettings {
  const result = parseSettings(GATE_SETTINGS, { argv, env: {} })
  assert.ok(result.ok)
  return result.settings
}

const OPEN: Proof = { refused: false, dialled: ['169.254.169.254'], seen: '169.254.169.254 answered' }
const REFUSED: Proof = { refused: true, dialled: ['169.254.169.254'], seen: '' }

/** Dependencies of the gate whose clock advances only while it sleeps. */
function world(overrides: Partial<GateOptions> = {}): {
  world: GateOptions
  lines: Line[]
  now: () => number
} {
  let clock = 0
  const lines: Line[] = []
  const log = (msg: string, fields: LogFields = {}) => void lines.push({ at: clock, msg, fields })
  const logger: Logger = { debug: log, info: log, warn: log, error: log }
  return {
    lines,
    now: () => clock,
    world: {
      prove: async () => REFUSED,
      loadRedirect: async () => undefined,
      askReadiness: async () => ({ ready: true, code: 'ready' }),
      now: () => clock,
      sleep: async (milliseconds) => {
        clock += milliseconds
      },
      log: logger,
      ...overrides,
    },
  }
}

test('an open endpoint is logged at once and every ten seconds, and fails after a minute', async () => {
  const { world: open, lines, now } = world({ prove: async () => OPEN })
  const outcome = await runSteps(settings(), open)
  assert.ok(!outcome.ok)
  assert.match(
    outcome.detail,
    /^169\.254\.169\.254 answered; the node guard does not block .* \(tried for 60s\)$/,
  )
  assert.equal(now(), 60_000)
  assert.deepEqual(
    lines.map(({ at, msg }) => [at, msg]),
    [0, 10, 20, 30, 40, 50].map((second) => [second * 1000, 'waiting for the block']),
  )
})

test('the redirect is not loaded while the endpoint is open', async () => {
  let loaded = false
  const { world: open } = world({
    prove: async () => OPEN,
    loadRedirect: async () => {
      loaded = true
      return undefined
    },
  })
  await runSteps(settings(), open)
  assert.equal(loaded, false)
})

test('no redirect is loaded in mode env', async () => {
  const { world: bare } = world({ loadRedirect: async () => assert.fail('loaded') })
  assert.deepEqual(await runSteps(settings('--redirect=env'), bare), { ok: true })
})

test('a redirect that cannot be loaded is retried and logged as such', async () => {
  const { world: failing, lines } = world({ loadRedirect: async () => 'nft failed: no' })
  const outcome = await runSteps(settings('--proof-timeout=5s'), failing)
  assert.deepEqual(outcome, {
    ok: false,
    detail: "the pod's redirect could not be loaded: nft failed: no (tried for 5.0s)",
  })
  assert.equal(lines.at(-1)?.msg, 'waiting for the redirect')
})

test('a failure to load the rules for the check is reported as one of the redirect, not of the block', async () => {
  const fault = 'nft was not permitted to work'
  const prove = async (): Promise<Proof> => ({ refused: false, dialled: [], seen: '', fault })
  const { world: barred, lines } = world({ prove })
  const outcome = await runSteps(settings('--proof-timeout=5s'), barred)
  assert.deepEqual(outcome, {
    ok: false,
    detail: `the pod's redirect could not be loaded: ${fault} (tried for 5.0s)`,
  })
  assert.deepEqual([lines.at(-1)?.msg, lines.at(-1)?.fields.detail], ['waiting for the redirect', fault])
})

test('without --wait-timeout the gate waits for the sidecar without a limit, and logs the reason every ten seconds', async () => {
  let asked = 0
  const { world: slow, lines } = world({
    askReadiness: async () =>
      ++asked > 3500 ? { ready: true, code: 'ready' } : { ready: false, code: 'broker-unreachable' },
  })
  assert.deepEqual(await runSteps(settings('--wait-ready=http://127.0.0.1:9170/readyz'), slow), { ok: true })
  const waits = lines.filter(({ msg }) => msg === 'waiting for the sidecar')
  assert.deepEqual(
    waits.map(({ at }) => at),
    [10_000, 20_000, 30_000],
  )
  assert.equal(waits[0]?.fields.code, 'broker-unreachable')
})

test('--wait-timeout ends the wait, except with restartPolicy Never, where the pod would end with the gate', async () => {
  const flags = ['--wait-ready=http://127.0.0.1:9170/readyz', '--wait-timeout=1s']
  const becomesReadyLate = () => {
    let asked = 0
    return world({
      askReadiness: async () =>
        ++asked > 500 ? { ready: true, code: 'ready' } : { ready: false, code: 'no-credentials' },
    }).world
  }
  const ended = await runSteps(settings(...flags), becomesReadyLate())
  assert.deepEqual(ended, {
    ok: false,
    detail: 'the sidecar at 127.0.0.1:9170 was not ready after 1.0s (no-credentials)',
  })
  const waited = await runSteps(settings(...flags, '--restart-policy=Never'), becomesReadyLate())
  assert.deepEqual(waited, { ok: true })
})

test('silence counts as a refusal after three times in a row, and an answer restarts the count', async () => {
  const script = ['no-answer', 'no-answer', 'answered', 'no-answer', 'no-answer', 'no-answer'] as const
  let round = 0
  const prove = createProof({
    metadata: ['169.254.169.254'],
    acceptDrop: true,
    prepare: async () => undefined,
    routeTo: async () => 'out',
    dial: async () => script[round++] ?? 'answered',
  })
  const seen: boolean[] = []
  for (const _ of script) seen.push((await prove()).refused)
  assert.deepEqual(seen, [false, false, false, false, false, true])
})

test('only addresses whose route leaves the pod are dialled', async () => {
  const routes = { a: 'none', b: 'local', c: 'out' } as const
  const prove = createProof({
    metadata: ['a', 'b', 'c'],
    acceptDrop: false,
    prepare: async () => undefined,
    routeTo: async (address) => routes[address as keyof typeof routes],
    dial: async () => 'refused',
  })
  assert.deepEqual(await prove(), { refused: true, dialled: ['c'], seen: '' })
})

test('a check that cannot be prepared does not count as passed', async () => {
  const prove = createProof({
    metadata: ['a'],
    acceptDrop: true,
    prepare: async () => 'nft failed',
    routeTo: async () => 'none',
    dial: async () => assert.fail('dialled'),
  })
  assert.equal((await prove()).refused, false)
})

test('a local IPv6 route is distinguished from one that leaves the pod', () => {
  const line = (address: string, length: string, flags: string) =>
    `${address} ${length} ${'0'.repeat(32)} 00 ${'0'.repeat(32)} 00000000 00000001 00000000 ${flags}       lo`
  const address = 'fd000ec2000000000000000000000254'
  assert.equal(hasLocalRoute(line(address, '80', '80200001'), 'fd00:ec2::254'), true)
  assert.equal(hasLocalRoute(line(address, '80', '00000001'), 'fd00:ec2::254'), false)
  assert.equal(hasLocalRoute(line(address, '40', '80200001'), 'fd00:ec2::254'), false)
  assert.equal(hasLocalRoute(line(address.replace('254', '253'), '80', '80200001'), 'fd00:ec2::254'), false)
})

test('the reason is read from the sidecar’s answer, also from a malformed one', () => {
  const answer = (status: string, body: string) => `HTTP/1.1 ${status}\r\nContent-Type: x\r\n\r\n${body}`
  assert.deepEqual(parseAnswer(answer('200 OK', 'whatever')), { ready: true, code: 'ready' })
  assert.deepEqual(parseAnswer(answer('503 No', '{"code":"c","detail":"d"}')), {
    ready: false,
    code: 'c',
    detail: 'd',
  })
  assert.deepEqual(parseAnswer(answer('503 No', 'not json')), { ready: false, code: 'http-503' })
  assert.deepEqual(parseAnswer(answer('503 No', '{"code":7}')), { ready: false, code: 'http-503' })
  assert.deepEqual(parseAnswer('SSH-2.0-x\r\n'), { ready: false, code: 'no-http' })
  assert.deepEqual(parseAnswer(''), { ready: false, code: 'no-http' })
})
