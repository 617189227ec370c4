/** Entry of the sidecar process: settings, start, signals. */
import { messageOf } from '../common/errors.ts'
import { onTerminate } from '../common/lifecycle.ts'
import { stdoutLogger } from '../common/log-output.ts'
import { settingsOrExit } from '../common/settings.ts'
import { annotatedRole, SPEC } from './settings.ts'
import { startSidecar } from './sidecar.ts'

async function main(): Promise<void> {
  const settings = settingsOrExit('pod2iam sidecar', SPEC)
  const log = stdoutLogger('sidecar', settings.logLevel)
  let stop = async () => {}
  // Before anything else: the first process of a container ignores signals that it does not handle.
  onTerminate(() => stop())
  try {
    const giveUp = (sentence: string) => void stop().finally(() => fail(sentence))
    const sidecar = await startSidecar(settings, { log, role: annotatedRole(process.env), giveUp })
    stop = sidecar.stop
  } catch (error) {
    log.error(`cannot start: ${messageOf(error)}`)
    process.exit(1)
  }
  disableOptimizingCompilers()
}

/** The last line is what `kubectl describe pod` shows (FallbackToLogsOnError): a plain sentence, no JSON. */
function fail(sentence: string): never {
  process.stderr.write(`pod2iam-sidecar: ${sentence}.\n`)
  process.exit(1)
}

/**
 * The output of the optimising compilers is most of the memory by which a warm process grows, and this one answers a few requests a
 * minute. Set after listening: on the command line these flags void Node's built-in code cache, and loading node:v8
 * takes 3 ms (README.md has the numbers).
 */
function disableOptimizingCompilers(): void {
  const v8 = process.getBuiltinModule('node:v8')
  for (const flag of ['--no-opt', '--no-maglev', '--no-sparkplug']) v8.setFlagsFromString(flag)
}

void main()
