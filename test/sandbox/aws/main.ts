/**
 * AWS on one machine: instance metadata service, STS and IAM in one process.
 *
 *   node main.ts SETTINGS      SETTINGS: a JSON object (config.ts), or the name of a file that contains one
 *
 * Prints one line of JSON once every listener accepts. Ends on SIGTERM, and when its standard input ends, so that it cannot outlive
 * the process that started it.
 */
import { readFileSync, rmSync } from 'node:fs'
import { parseConfig } from './config.ts'
import { createControlServer } from './control.ts'
import { listen } from './exchange.ts'
import { imdsServers } from './imds.ts'
import { createStsServer } from './sts.ts'
import { World } from './world.ts'

/** The line that is printed when it is ready: the bound addresses. */
export type Ready = { readonly imds: readonly string[]; readonly sts: readonly string[] }

const stop = () => process.exit(0)

async function main(argument: string | undefined): Promise<void> {
  if (argument === undefined) throw new Error('settings are missing: a JSON object or the name of a file')
  const config = parseConfig(argument.startsWith('{') ? argument : readFileSync(argument, 'utf8'))
  const { temporaryDirectory } = config
  // The process that started this one cannot remove it after a SIGKILL.
  if (temporaryDirectory !== '')
    process.on('exit', () => rmSync(temporaryDirectory, { recursive: true, force: true }))
  const world = new World(config)
  const imdsServer = imdsServers(world)
  const control = createControlServer(world, stop)
  const [imds, sts] = await Promise.all([
    Promise.all(config.imds.map((address) => listen(imdsServer(), address))),
    Promise.all(config.sts.map((address) => listen(createStsServer(world), address))),
    new Promise<void>((resolve, reject) => {
      control.once('error', reject)
      control.listen(config.controlSocket, resolve)
    }),
  ])
  const ready: Ready = { imds, sts }
  process.stdout.write(`${JSON.stringify(ready)}\n`)
}

// Access to the control socket means control of AWS, and pods of the sandbox run under other uids on the same file system.
process.umask(0o177)
for (const event of ['end', 'close', 'error']) process.stdin.on(event, stop)
process.stdin.resume()
process.on('SIGTERM', stop)
// Ctrl-C in a terminal reaches the whole process group; the process that started this one decides when it ends.
process.on('SIGINT', () => undefined)
// If the reader has ended (the parent was killed while we print), this process must still end.
process.stdout.on('error', stop)

main(process.argv[2]).catch((error: unknown) => {
  process.stderr.write(`aws stand-in: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
})
