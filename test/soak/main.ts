/**
 * `npm run soak [-- sidecar|injector|broker] [--minutes=10] [--seed=N] [--attack=WORD]…`: hostile input for minutes, beside a
 * good client that must not notice. Prints a table at the end; if anything is wrong, says so in sentences and exits with 1. The seed repeats the attacks and their
 * order; which of them overlap depends on the machine.
 * `--attack` limits the sidecar's attacks to those whose name contains a word.
 */
import { argumentsOrExit } from '../support/arguments.ts'
import { report } from './report.ts'
import { SERVICES } from './services.ts'
import { soak } from './soak.ts'
import { faultsOf } from './verdict.ts'

/** A shorter run does not show whether memory grows, because the heap has not reached its size. */
const LEAST_FOR_GROWTH_MS = 3 * 60_000
/** An answer that comes later counts as missing. */
const TIMEOUT_MS = 5000
/** A quarter of the time that SDKs wait: not reached by far even while the machine does other work. */
const P99_MS = 250
/** SDKs give up after a second; on a busy machine one answer in a thousand may be that late, whatever the cause. */
const LATE_SHARE = 0.001
/** After SIGTERM: the sidecar promises to end within a second. */
const LONGEST_EXIT_MS = 1500

const USAGE = 'Usage: npm run soak [-- sidecar|injector|broker --minutes N --seed N --attack WORD]'
const { values, positionals } = argumentsOrExit(USAGE, {
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string' },
    attack: { type: 'string', multiple: true, default: [] },
  },
  allowPositionals: true,
})
const minutes = Number(values.minutes)
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed)
if (!(minutes > 0 && minutes <= 24 * 60))
  end(2, [`--minutes must be a number up to 1440, not ${values.minutes}.`])
if (!Number.isSafeInteger(seed)) end(2, [`--seed must be a whole number, not ${values.seed}.`])
const [word = 'sidecar', ...more] = positionals
const service = Object.hasOwn(SERVICES, word) ? SERVICES[word] : undefined
const names = ['sidecar', ...Object.keys(SERVICES)].join(', ')
if ((word !== 'sidecar' && service === undefined) || more.length > 0)
  end(2, [`There is no soak of ${positionals.join(' ')}; there is one of: ${names}.`])
if (service !== undefined && values.attack.length > 0) end(2, ['--attack is for the soak of the sidecar.'])

// Everything that was started ends with this process.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

const durationMs = minutes * 60_000
console.log(`${word}: ${minutes} minutes of hostile input, seed ${seed}`)
if (service !== undefined) {
  const outcome = await service({ seed, durationMs, onProgress: (line) => console.log(line) })
  console.log(`\n${outcome.report}`)
  end(outcome.faults.length > 0 ? 1 : 0, outcome.faults)
}
const seen = await soak({
  seed,
  durationMs,
  rate: 60,
  requestRate: 300,
  connections: 250,
  timeoutMs: TIMEOUT_MS,
  only: values.attack,
  sampleMs: Math.min(5000, durationMs / 4),
  onProgress: (line) => console.log(line),
})
const faults = faultsOf(seen, {
  p99: P99_MS,
  lateShare: LATE_SHARE,
  exitMs: LONGEST_EXIT_MS,
  flat: durationMs >= LEAST_FOR_GROWTH_MS,
})
console.log(`\n${report(seen)}`)
end(faults.length > 0 ? 1 : 0, faults)

function end(code: number, sentences: readonly string[]): never {
  for (const sentence of sentences) console.error(`✖ ${sentence}`)
  if (code === 0) console.log('✔ memory flat, no crash, and a good client that noticed nothing')
  process.exit(code)
}
