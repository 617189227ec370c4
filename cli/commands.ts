/** The commands with their options; the code of a command is loaded only when that command runs. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { AuditOptions } from './audit/command.ts'
import type { ClusterOptions } from './cluster/kubeconfig.ts'
import type { DashboardOptions } from './dashboard/command.ts'
import type { ExplainOptions } from './explain/command.ts'
import type { Outcome } from './outcome.ts'
import type { Format } from './output/print.ts'
import type { TrustOptions } from './trust/command.ts'
import { POLICY_FORMATS } from './trust/policy-format.ts'
import type { WhoOptions } from './who/command.ts'

/** Options of every command. */
type Global = {
  readonly output: Format
  readonly color: boolean
  readonly context?: string
  readonly namespace?: string
  readonly kubeconfig?: string
}

export const COLUMNS = 80

/** Adds every command to the program, in the order in which its help lists them. */
export function addCommands(add: Add, show: Show): void {
  addCheck(add, show)
  addExplain(add, show)
  addWho(add, show)
  addStatus(add, show)
  addAudit(add, show)
  addTrust(add, show)
  addDashboard(add)
}

/** Creates a command. */
export type Add = (usage: string, about: string) => Command
/** Prints the result of a command and sets its exit code. */
export type Show = (outcome: Outcome, options: Global) => Promise<void>

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
