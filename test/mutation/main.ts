/**
 * `npm run mutation [-- WORD…]`: deletes one statement after another from the code that makes security decisions, and
 * requires that types or tests fail for each. `npm test` does the same for the firewall's rules, with the kernel
 * (test/firewall/every-line.test.ts).
 */
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../../common/clock.ts'
import { deleteEach } from './delete-each.ts'

const BROKER = 'node-guard/broker'
const DECISIONS = ['test/broker/decide.test.ts', 'test/broker/rechecks.test.ts', 'test/broker/who.test.ts']
const KEYS_AND_DECISIONS = ['test/broker/keys.test.ts', ...DECISIONS]
const ACCOUNTS = 'test/broker/service-account-roles.test.ts'
const ADMITTED_ACCOUNTS = ['test/injector/service-account-roles.test.ts']
const WATCHED = ['test/broker/stores.test.ts', 'test/broker/watch-revisions.test.ts', ...DECISIONS]
const HOST_PODS = ['test/broker/host-pods.test.ts', 'test/broker/host-pods-writing.test.ts']
const BY_WEB_IDENTITY = [
  'test/broker/web-identity-assumer.test.ts',
  'test/broker/web-identity-own-roles.test.ts',
  'test/broker/web-identity.test.ts',
]
const ADMITTED_CREDENTIALS = [
  'test/injector/container-credentials.test.ts',
  'test/injector/container-credentials-mounts.test.ts',
]
const CONTAINER_CREDENTIALS = ['test/sidecar/container-credentials.test.ts']
const TARGETS: Readonly<Record<string, readonly string[]>> = {
  'common/glob.ts': ['test/common/glob.test.ts', 'test/common/policy.test.ts'],
  'common/policy.ts': ['test/common/policy.test.ts'],
  'common/role.ts': ['test/common/role.test.ts'],
  'common/identity.ts': ['test/common/identity.test.ts'],
  'common/session-policies.ts': ['test/common/session-policies.test.ts'],
  'common/credential-source.ts': ['test/broker/settings.test.ts', 'test/injector/web-identity.test.ts'],
  'common/firewall-state.ts': ['test/common/firewall-state.test.ts'],
  [`${BROKER}/authenticate/verify.ts`]: KEYS_AND_DECISIONS,
  [`${BROKER}/authenticate/claims.ts`]: KEYS_AND_DECISIONS,
  [`${BROKER}/authenticate/keys.ts`]: KEYS_AND_DECISIONS,
  [`${BROKER}/authenticate/identify.ts`]: [...DECISIONS, ACCOUNTS, 'test/broker/narrower.test.ts'],
  [`${BROKER}/authenticate/web-identity.ts`]: ['test/broker/web-identity.test.ts'],
  [`${BROKER}/authorize/entitlement.ts`]: [
    ...DECISIONS,
    'test/broker/issuance.test.ts',
    'test/broker/web-identity.test.ts',
    'test/broker/narrower.test.ts',
    ACCOUNTS,
  ],
  [`${BROKER}/authorize/session-tags.ts`]: [
    'test/broker/session-tags.test.ts',
    'test/broker/settings.test.ts',
  ],
  [`${BROKER}/authorize/source-identity.ts`]: [
    'test/broker/source-identity.test.ts',
    'test/broker/settings.test.ts',
  ],
  'injector/pod/identity.ts': [
    'test/injector/session-policies.test.ts',
    'test/injector/decide.test.ts',
    ...ADMITTED_ACCOUNTS,
  ],
  [`${BROKER}/authorize/external-id.ts`]: DECISIONS,
  [`${BROKER}/authenticate/peer.ts`]: DECISIONS,
  [`${BROKER}/authorize/session-name.ts`]: DECISIONS,
  [`${BROKER}/authenticate/authenticate.ts`]: DECISIONS,
  [`${BROKER}/authorize/authorize.ts`]: [...DECISIONS, ACCOUNTS],
  [`${BROKER}/kubernetes/service-accounts.ts`]: ['test/broker/service-accounts.test.ts'],
  'injector/admission/account.ts': ADMITTED_ACCOUNTS,
  'injector/kubernetes/lookups.ts': ADMITTED_ACCOUNTS,
  'injector/pod/account.ts': ADMITTED_ACCOUNTS,
  [`${BROKER}/kubernetes/namespaces.ts`]: WATCHED,
  [`${BROKER}/kubernetes/pods.ts`]: [...WATCHED, 'test/broker/node.test.ts'],
  [`${BROKER}/kubernetes/live-reads.ts`]: [
    ...WATCHED,
    'test/broker/node.test.ts',
    'test/broker/bounds.test.ts',
  ],
  [`${BROKER}/kubernetes/revisions.ts`]: WATCHED,
  [`${BROKER}/aws/assumers.ts`]: BY_WEB_IDENTITY,
  [`${BROKER}/aws/web-identity.ts`]: BY_WEB_IDENTITY,
  [`${BROKER}/aws/classify.ts`]: [...BY_WEB_IDENTITY, 'test/broker/sts-errors.test.ts'],
  [`${BROKER}/aws/assume.ts`]: ['test/broker/caller.test.ts', 'test/broker/sts-errors.test.ts'],
  [`${BROKER}/sessions/account-rates.ts`]: ['test/broker/queue.test.ts'],
  [`${BROKER}/sessions/warm-up.ts`]: ['test/broker/warm-up.test.ts', ACCOUNTS],
  [`${BROKER}/kubernetes/host-pods.ts`]: HOST_PODS,
  'common/host-pods.ts': HOST_PODS,
  'injector/pod/options.ts': [
    'test/injector/decide.test.ts',
    'test/injector/web-identity.test.ts',
    'test/injector/web-identity-replicas.test.ts',
    ...ADMITTED_CREDENTIALS,
  ],
  'injector/form/final-pod.ts': [
    'test/injector/validate.test.ts',
    'test/injector/web-identity.test.ts',
    ...ADMITTED_CREDENTIALS,
    ...ADMITTED_ACCOUNTS,
  ],
  'injector/patch/app-containers.ts': ['test/injector/reinvocation.test.ts', ...ADMITTED_CREDENTIALS],
  'sidecar/broker/client.ts': [
    'test/sidecar/refresher.test.ts',
    'test/sidecar/web-identity.test.ts',
    'test/sidecar/broker-client.test.ts',
  ],
  'sidecar/container/answer.ts': CONTAINER_CREDENTIALS,
  'sidecar/container/secret.ts': CONTAINER_CREDENTIALS,
  [`${BROKER}/aws/follow-caller.ts`]: ['test/broker/caller.test.ts'],
}

const words = process.argv.slice(2)
for (const word of words)
  if (!Object.keys(TARGETS).some((file) => file.includes(word))) {
    console.error(`No file of these contains ${word}:\n${Object.keys(TARGETS).join('\n')}`)
    process.exit(2)
  }
const chosen = Object.entries(TARGETS).filter(
  ([file]) => words.length === 0 || words.some((word) => file.includes(word)),
)
const { total, survivors, late } = await deleteEach({
  project: fileURLToPath(new URL('../../', import.meta.url)),
  targets: Object.fromEntries(chosen),
  types: ['tsc', '-p', '.'],
  /** Twice the time of the slowest tests on a busy machine. */
  timeoutMs: 40_000,
  /** Tests that fail often wait for something until they are ended. */
  workers: 3 * availableParallelism(),
  clock: systemClock,
  print: console.log,
})
if (late > 0) console.log(`${late} were noticed only because their tests did not end in time`)
console.log(`mutation: ${total - survivors.length} passed, ${survivors.length} failed`)
process.exit(survivors.length > 0 ? 1 : 0)
