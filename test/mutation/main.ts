/**
 * `npm run mutation [-- WORD…]`: deletes one statement after another from the code that makes security decisions, and
 * requires that types or tests fail for each. `npm test` does the same for the firewall's rules, with the kernel
 * (test/firewall/every-line.test.ts).
 */
import { spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Deletion, deletions, without } from './statements.ts'

const BROKER = 'node-guard/broker'
const DECISIONS = ['test/broker/decide.test.ts', 'test/broker/rechecks.test.ts', 'test/broker/who.test.ts']
const ACCOUNTS = 'test/broker/service-account-roles.test.ts'
const ADMITTED_ACCOUNTS = ['test/injector/service-account-roles.test.ts']
const WATCHED = ['test/broker/watch-revisions.test.ts', ...DECISIONS]
const HOST_PODS = ['test/broker/host-pods.test.ts']
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
  [`${BROKER}/authenticate/verify.ts`]: DECISIONS,
  [`${BROKER}/authenticate/claims.ts`]: DECISIONS,
  [`${BROKER}/authenticate/keys.ts`]: ['test/broker/keys.test.ts', ...DECISIONS],
  [`${BROKER}/authenticate/identify.ts`]: [...DECISIONS, ACCOUNTS],
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
  'injector/kubernetes/account-lookup.ts': ADMITTED_ACCOUNTS,
  'injector/pod/account.ts': ADMITTED_ACCOUNTS,
  [`${BROKER}/kubernetes/namespaces.ts`]: WATCHED,
  [`${BROKER}/kubernetes/pods.ts`]: [...WATCHED, 'test/broker/node.test.ts'],
  [`${BROKER}/kubernetes/live-reads.ts`]: [
    ...WATCHED,
    'test/broker/node.test.ts',
    'test/broker/bounds.test.ts',
  ],
  [`${BROKER}/kubernetes/revisions.ts`]: WATCHED,
  [`${BROKER}/aws/assume.ts`]: ['test/broker/caller.test.ts', 'test/broker/sts-errors.test.ts'],
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
  'sidecar/broker/client.ts': ['test/sidecar/refresher.test.ts', 'test/sidecar/web-identity.test.ts'],
  'sidecar/container/answer.ts': CONTAINER_CREDENTIALS,
  'sidecar/container/secret.ts': CONTAINER_CREDENTIALS,
  [`${BROKER}/aws/follow-caller.ts`]: ['test/broker/caller.test.ts'],
}

/** Twice the time of the slowest tests on a busy machine. A mutant that hangs counts as noticed. */
const TIMEOUT_MS = 40_000
const PROJECT = fileURLToPath(new URL('../../', import.meta.url))
const words = process.argv.slice(2)

type Job = { readonly file: string; readonly tests: readonly string[]; readonly deletion: Deletion }

const jobs = Object.entries(TARGETS)
  .filter(([file]) => words.length === 0 || words.some((word) => file.includes(word)))
  .flatMap(([file, tests]): Job[] =>
    deletions(readFileSync(PROJECT + file, 'utf8')).map((deletion) => ({ file, tests, deletion })),
  )
const survivors: Job[] = []
const total = jobs.length
console.log(`${total} deletions in ${new Set(jobs.map(({ file }) => file)).size} files`)
await Promise.all(Array.from({ length: availableParallelism() }, work))
for (const { file, deletion } of survivors)
  console.log(`✖ nobody notices when ${file}:${deletion.from} is gone: ${deletion.what}`)
console.log(`mutation: ${total - survivors.length} passed, ${survivors.length} failed`)
process.exit(survivors.length > 0 ? 1 : 0)

/** Does jobs until there are none left, in its own copy of the project. */
async function work(): Promise<void> {
  const copy = mkdtempSync(join(tmpdir(), 'pod2iam-mutation-'))
  for (const part of [
    'common',
    'node-guard',
    'test',
    'injector',
    'sidecar',
    'charts',
    'package.json',
    'tsconfig.json',
    'build.ts',
  ])
    cpSync(PROJECT + part, join(copy, part), { recursive: true })
  symlinkSync(join(PROJECT, 'node_modules'), join(copy, 'node_modules'))
  try {
    for (let job = jobs.shift(); job !== undefined; job = jobs.shift())
      if (!(await noticed(copy, job))) survivors.push(job)
      else if (jobs.length % 50 === 0) console.log(`${jobs.length} to go`)
  } finally {
    rmSync(copy, { recursive: true })
  }
}

async function noticed(copy: string, { file, tests, deletion }: Job): Promise<boolean> {
  const path = join(copy, file)
  const source = readFileSync(path, 'utf8')
  writeFileSync(path, without(source, deletion))
  try {
    // Types are checked last, since for most deletions a test fails before tsc would end.
    if (!(await succeeds(copy, process.execPath, ['--test', ...tests]))) return true
    return !(await succeeds(copy, 'tsc', ['-p', '.']))
  } finally {
    writeFileSync(path, source)
  }
}

function succeeds(cwd: string, command: string, args: readonly string[]): Promise<boolean> {
  // It has its own process group, because a test file that hangs is a grandchild.
  const child = spawn(command, args, { cwd, stdio: 'ignore', detached: true })
  const timer = setTimeout(() => child.pid !== undefined && process.kill(-child.pid, 'SIGKILL'), TIMEOUT_MS)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code) => {
      clearTimeout(timer)
      resolve(code === 0)
    })
  })
}
