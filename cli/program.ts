/** Runs one command line: options of every command, output, exit codes and faults. */
import { Command, CommanderError, Option } from 'commander'
import { messageOf } from '../common/errors.ts'
import { VERSION } from '../common/version.ts'
import { type Add, addCommands, COLUMNS, type Show } from './commands.ts'
import { CliError } from './failure.ts'
import type { ExitCode, Page } from './outcome.ts'
import { paintFor } from './output/paint.ts'
import { FORMATS, printed, withoutControlSequences } from './output/print.ts'
import { wrapped } from './output/table.ts'

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

  addCommands(add, show)
  return program
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
