/** How to check that a peer runs, since an executable file may still lack what it needs. */
import { spawnSync } from 'node:child_process'
import { dirname, join } from 'node:path'

type Proof = {
  readonly args?: readonly string[]
  readonly input?: string
  /** What the program itself must print. */
  readonly says?: RegExp
  /** Another program that it runs, in the same directory. */
  readonly beside?: string
}

/** A program that hangs is broken, too, but a Python program may take half a minute to start on a busy machine. */
const TIMEOUT_MS = 90_000
const VERSION: Proof = { args: ['--version'], says: /\d+\.\d+/ }
/** These print that they have no credentials, and end when their input ends. */
const WHOAMI: Proof = { says: /^\{"/m }
const MULTI: Proof = { ...VERSION, args: ['iptables', '--version'] }

const PROOFS: Readonly<Record<string, Proof>> = {
  'grafana-types': { says: /no dashboard/ },
  helm: { ...VERSION, args: ['version', '--short'] },
  helm3: { ...VERSION, args: ['version', '--short'], says: /^v3\./m },
  ip: { args: ['-V'], says: /iproute2/ },
  'kube-cel': { input: '{"objects":[]}', says: /"verdicts"/ },
  'kube-types': {},
  kube2iam: { ...VERSION, says: /^Version:/ },
  kubectl: { ...VERSION, args: ['version', '--client'] },
  moto_server: { args: ['--help'], says: /usage/i },
  socat: { args: ['-V'], says: /socat version/ },
  'webhook-client': { says: /"sent":0/ },
  'whoami-awscrt-0.16': WHOAMI,
  'whoami-awscrt-0.38': WHOAMI,
  'whoami-boto3': WHOAMI,
  'whoami-boto3-before': WHOAMI,
  'whoami-cli': { ...WHOAMI, beside: 'aws' },
  'whoami-go': WHOAMI,
  'whoami-java': WHOAMI,
  'xtables-legacy-multi': MULTI,
  'xtables-nft-multi': MULTI,
}

/**
 * Runs a peer, in most cases to print its version.
 *
 * @param command its name
 * @param path where it is
 * @returns why it does not work, as the rest of a sentence; undefined if it does
 */
export function whyBroken(command: string, path: string, timeoutMs = TIMEOUT_MS): string | undefined {
  const { args = [], input = '', says, beside } = PROOFS[command] ?? VERSION
  const why = beside === undefined ? undefined : whyBroken(beside, join(dirname(path), beside), timeoutMs)
  if (why !== undefined) return `${beside} beside it: ${why}`
  return whyNoAnswer([path, ...args], { input, timeoutMs, ...(says === undefined ? {} : { says }) })
}

/** Why a command fails or does not print this text; undefined if it does. */
export function whyNoAnswer(
  [command = '', ...args]: readonly string[],
  {
    input = '',
    says = /(?:)/,
    timeoutMs = TIMEOUT_MS,
  }: { input?: string; says?: RegExp; timeoutMs?: number } = {},
): string | undefined {
  const { error, signal, status, stdout, stderr } = spawnSync(command, args, {
    input,
    encoding: 'utf8',
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    env: nobody(),
  })
  const { code } = (error ?? {}) as NodeJS.ErrnoException
  if (code === 'ETIMEDOUT') return `it did not end within ${timeoutMs / 1000} s`
  // EPIPE means that it ended without reading its input.
  if (error !== undefined && code !== 'EPIPE') return error.message
  if (status !== 0) return `${signal ?? `exit code ${status}`}: ${lastLine(stderr) || lastLine(stdout)}`
  // Older programs print their version on stderr.
  return says.test(stdout + stderr) ? undefined : `it said ${JSON.stringify(lastLine(stdout + stderr))}`
}

/** The environment without credentials and files of AWS, so that no peer connects to AWS. */
function nobody(): NodeJS.ProcessEnv {
  const others = Object.entries(process.env).filter(([name]) => !name.startsWith('AWS_'))
  return {
    ...Object.fromEntries(others),
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_REGION: 'eu-west-1',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
    AWS_CONFIG_FILE: '/dev/null',
  }
}

/** The last line, which is the most useful one of a Python traceback. */
const lastLine = (text: string) => text.trimEnd().split('\n').at(-1)?.trim().slice(0, 200) ?? ''
