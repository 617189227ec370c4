/** Commands and options; the code of a command is loaded only when that command runs. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { messageOf } from '../common/errors.ts'
import { VERSION } from '../common/version.ts'
import type { AuditOptions } from './audit/command.ts'
import type { ClusterOptions } from './cluster/kubeconfig.ts'
import type { DashboardOptions } from './dashboard/command.ts'
import type { ExplainOptions } from './explain/command.ts'
import { CliError } from './failure.ts'
import type { ExitCode, Outcome, Page } from './outcome.ts'
import { paintFor } from './output/paint.ts'
import { FORMATS, type Format, printed, withoutControlSequences } from './output/print.ts'
import { wrapped } from './output/table.ts'
import type { TrustOptions } from './trust/command.ts'
import { POLICY_FORMATS } from './trust/policy-format.ts'
import type { WhoOptions } from './who/command.ts'

type Global = {
  readonly output: Format
  readonly color: boolean
  readonly context?: string
  readonly namespace?: string
  readonly kubeconfig?: string
}

const COLUMNS = 80

const ABOUT = `Shows what pod2iam does in a cluster: IAM credentials for a pod, and only that pod.
It reads with your permissions and changes nothing.`

const EXAMPLES = (name: string) => `
Why is a pod stuck or without credentials?
  ${name} explain POD
  ${name} explain deployment/NAME    if its pods are refused and none exists
Will this manifest work?
  ${name} explain -f FILE
Does everything work?
  ${name} check

Exit codes: 0 no problem, 1 something is wrong, 2 wrong usage, no access, or
something could not be checked.`

/** Runs one command line; never throws. */
export async function runProgram(argv: readonly string[], name: string): Promise<ExitCode> {
  let exit: ExitCode = 0
  const program = programOf(name, (code) => {
    exit = code
  })
  try {
    await program.parseAsync(argv, { from: 'user' })
    return exit
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    process.stderr.write(withoutControlSequences(faultText(name, error)))
    return 2
  }
}

/** Every option of every command, in its long form: `--namespace`. */
export function optionsOfCli(): string[] {
  const program = programOf('pod2iam', () => undefined)
  const all = [program, ...program.commands].flatMap(({ options }) => options.map(({ long }) => long ?? ''))
  return [...new Set(all)]
}

function programOf(name: string, done: (code: ExitCode) => void): Command {
  const program = new Command(name)
    .description(ABOUT)
    .version(VERSION, '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .addOption(new Option('-o, --output <format>', 'output format').choices(FORMATS).default('table'))
    .option('-n, --namespace <name>', 'namespace; by default that of the context')
    .option('--context <name>', 'kubeconfig context')
    .option('--kubeconfig <file>', 'kubeconfig; by default that of kubectl')
    .option('--no-color', 'no colours, like the variable NO_COLOR')
    .addHelpText('after', () => EXAMPLES(name))
    .configureHelp({ helpWidth: COLUMNS, showGlobalOptions: true })
    .configureOutput({ outputError: (text, write) => write(`${name}: ${text.replace(/^error: /, '')}`) })
    .showHelpAfterError(`${name} --help shows all commands and options.`)
    .exitOverride()

  const add: Add = (usage, about) =>
    program.command(usage).description(about).configureHelp({ helpWidth: COLUMNS, showGlobalOptions: true })
  const show: Show = async (outcome, { output, color }) => {
    process.stdout.write(printed(outcome, output, pageOf(color)))
    done(outcome.exit)
  }

  addCheck(add, show)
  addExplain(add, show)
  addWho(add, show)
  addStatus(add, show)
  addAudit(add, show)
  addTrust(add, show)
  addDashboard(add)
  return program
}

/** Creates a command. */
type Add = (usage: string, about: string) => Command
/** Prints the result of a command and sets its exit code. */
type Show = (outcome: Outcome, options: Global) => Promise<void>

function addCheck(add: Add, show: Show): void {
  add('check', 'is the cluster suitable for pod2iam, and does the installation work')
    .option('-w, --wait', 'wait until it is installed and nothing is wrong')
    .option('--timeout <seconds>', 'with --wait: how long to wait', seconds, 300)
    .action(async (_options, command: Command) => {
      const options = command.optsWithGlobals<Global & ClusterOptions & CheckOptions>()
      const [{ openCluster }, { check }] = await Promise.all([
        import('./cluster/kubeconfig.ts'),
        import('./check/command.ts'),
      ])
      const look = () => check(openCluster(options))
      if (!options.wait) return show(await look(), options)
      const [{ waitUntilHealthy }, { default: spinner }] = await Promise.all([
        import('./check/wait.ts'),
        import('yocto-spinner'),
      ])
      const progress = spinner({ text: 'checking', stream: process.stderr }).start()
      const result = await waitUntilHealthy({
        check: look,
        timeoutMs: options.timeout * 1000,
        intervalMs: 2000,
        progress: (text) => {
          progress.text = text.slice(0, COLUMNS - 4)
        },
        clock: () => performance.now(),
      }).finally(() => progress.stop())
      await show(result, options)
    })
}

function addExplain(add: Add, show: Show): void {
  add(
    'explain [target]',
    'the steps by which a pod gets its credentials, and a remedy for the first that fails',
  )
    .option('-f, --filename <file>', 'explain a manifest: what admission would decide and add; - is stdin')
    .option('--injector-flag <flag>', 'with -f: assume this flag of the injector, repeatable', collected, [])
    .action(async (target: string | undefined, _options, command: Command) => {
      const options = command.optsWithGlobals<Global & ExplainOptions>()
      const { explain } = await import('./explain/command.ts')
      await show(await explain(target, options), options)
    })
}

function addWho(add: Add, show: Show): void {
  add('who [pod]', 'which pod has which role: its source, session name and expiry')
    .option('--role <glob>', 'only these roles, by ARN or name')
    .option('--expiry', 'ask every sidecar when its credentials expire, even if there are many')
    .action(async (pod: string | undefined, _options, command: Command) => {
      const options = command.optsWithGlobals<Global & ClusterOptions & WhoOptions>()
      const [{ openCluster }, { who }] = await Promise.all([
        import('./cluster/kubeconfig.ts'),
        import('./who/command.ts'),
      ])
      await show(await who(openCluster(options), pod, options), options)
    })
}

function addStatus(add: Add, show: Show): void {
  add('status', 'every node: its block, its broker and warnings, and which releases run')
    .option('-w, --watch', 'repeat, and show what has changed')
    .option('--interval <seconds>', 'with --watch: seconds between updates', seconds, 5)
    .action(async (_options, command: Command) => {
      const options = command.optsWithGlobals<Global & ClusterOptions & StatusOptions>()
      const [{ openCluster }, { status }] = await Promise.all([
        import('./cluster/kubeconfig.ts'),
        import('./status/command.ts'),
      ])
      // Each update has its own list of refusals.
      const look = () => status(openCluster(options))
      if (!options.watch) return show(await look(), options)
      const { watch } = await import('./status/watch.ts')
      const ended = new AbortController()
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ended.abort())
      await watch({
        look,
        intervalMs: options.interval * 1000,
        signal: ended.signal,
        show: (outcome) => void show(outcome, options),
      })
    })
}

function addAudit(add: Add, show: Show): void {
  add('audit', 'which workloads use the metadata service and would be refused; needs guard.mode=audit')
    .option('--suggest', 'the labels and role lists that the current annotations need; in every mode')
    .option('--role-key <key>', "annotation that names the role; by default the injector's")
    .option('--base-role-arn <arn>', 'prefix of bare role names, if the cluster does not say')
    .action(async (_options, command: Command) => {
      const options = command.optsWithGlobals<Global & ClusterOptions & AuditOptions>()
      const [{ openCluster }, { audit }] = await Promise.all([
        import('./cluster/kubeconfig.ts'),
        import('./audit/command.ts'),
      ])
      await show(await audit(openCluster(options), options), options)
    })
}

function addTrust(add: Add, show: Show): void {
  add('trust', 'what IAM needs for the roles in use: trust policies, and the policy of the node role')
    .option('--node-role <arn>', 'role in the instance profile of the nodes, which calls STS')
    .addOption(new Option('--form <form>', 'print all policies').choices(POLICY_FORMATS))
    .option('--by-namespace', 'trust only sessions of the namespaces that use the role')
    .option('--check', 'check in AWS, with your credentials, whether they are there')
    .option('--role-key <key>', "annotation that names the role; by default the injector's")
    .option('--base-role-arn <arn>', 'prefix of bare role names, if the cluster does not say')
    .action(async (_options, command: Command) => {
      const options = command.optsWithGlobals<Global & ClusterOptions & TrustOptions>()
      const [{ openCluster }, { trust }] = await Promise.all([
        import('./cluster/kubeconfig.ts'),
        import('./trust/command.ts'),
      ])
      await show(await trust(openCluster(options), options), options)
    })
}

function addDashboard(add: Add): void {
  add('dashboard', 'serve a status page for the browser, on this machine only, until interrupted')
    .option('--port <port>', 'port of 127.0.0.1; by default a free one', port, 0)
    .option('--interval <seconds>', 'seconds between updates', seconds, 5)
    .option('--open', 'open it in the browser')
    .action(async (_options, command: Command) => {
      const options = command.optsWithGlobals<Global & DashboardOptions>()
      const { dashboard } = await import('./dashboard/command.ts')
      const ended = new AbortController()
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ended.abort())
      await dashboard(
        options,
        ended.signal,
        (url) =>
          process.stdout.write(options.output === 'json' ? `${JSON.stringify({ url })}\n` : `${url}\n`),
        (sentence) => process.stderr.write(`${sentence}\n`),
      )
    })
}

type CheckOptions = { readonly wait?: boolean; readonly timeout: number }
type StatusOptions = { readonly watch?: boolean; readonly interval: number }

function seconds(text: string): number {
  const number = Number(text)
  if (!(number >= 1 && number <= 3600)) throw new InvalidArgumentError('Give a number from 1 to 3600.')
  return number
}

function port(text: string): number {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 0 || number > 65_535)
    throw new InvalidArgumentError('Give a number from 0 to 65535.')
  return number
}

function collected(flag: string, before: readonly string[]): readonly string[] {
  if (!flag.startsWith('--')) throw new InvalidArgumentError('Write it as --flag=value.')
  return [...before, flag]
}

function pageOf(color: boolean): Page {
  const { columns, isTTY } = process.stdout
  return {
    // In a wide window a table may be wider; in a pipe the width is not known.
    width: isTTY ? Math.max(COLUMNS, columns) : COLUMNS,
    paint: paintFor(process.stdout, color),
  }
}

function faultText(name: string, error: unknown): string {
  if (error instanceof CliError)
    return `${wrapped(`${name}: ${error.message} (${error.code})`, COLUMNS)}\n${wrapped(`→ ${error.remedy}`, COLUMNS)}\n`
  return `${name}: this should not have happened: ${messageOf(error)}\n${process.env.DEBUG && error instanceof Error ? error.stack : 'Please report it; DEBUG=1 prints where.'}\n`
}
