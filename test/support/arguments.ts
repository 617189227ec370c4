import { type ParseArgsConfig, parseArgs } from 'node:util'
import { messageOf } from '../../common/errors.ts'

/** The arguments of a command; ends the process with the reason and the usage if they are not its own. */
export function argumentsOrExit<T extends ParseArgsConfig>(
  usage: string,
  config: T,
): ReturnType<typeof parseArgs<T>> {
  try {
    return parseArgs(config)
  } catch (error) {
    console.error(`${messageOf(error)}\n${usage}`)
    process.exit(2)
  }
}
