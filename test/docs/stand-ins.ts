/**
 * Runs shell blocks of the pages with our own programs in place of the real ones: a stand-in answers the commands that it knows,
 * and passes others to the real program of that name.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { installed } from '../peers/peers.ts'

export type Call = { readonly args: readonly string[]; readonly cwd: string }
export type Answer = { readonly code: number; readonly stdout: string; readonly stderr: string }
/** The answer to a call, or `undefined` if the real program should answer. */
export type StandIn = (call: Call) => Answer | undefined | Promise<Answer | undefined>

export type StandIns = {
  /** The directory in which scripts must run. */
  readonly directory: string
  /** The PATH with the stand-ins first. */
  readonly path: string
  readonly close: () => Promise<void>
}

const CLIENT = fileURLToPath(new URL('stand-in-client.ts', import.meta.url))

export const ok = (stdout = ''): Answer => ({ code: 0, stdout, stderr: '' })

/** Creates a directory with a program for each stand-in. */
export async function startStandIns(programs: Readonly<Record<string, StandIn>>): Promise<StandIns> {
  const root = mkdtempSync(join(tmpdir(), 'docs-'))
  const directory = join(root, 'work')
  const bin = join(root, 'bin')
  const socket = join(root, 'stand-ins.sock')
  for (const path of [directory, bin]) mkdirSync(path)
  const server = createServer(async (request, response) => {
    const answer = await answerOf(programs, request).catch((error) => ({
      code: 1,
      stdout: '',
      stderr: `stand-in: ${error instanceof Error ? error.message : error}\n`,
    }))
    response.end(JSON.stringify(answer ?? null))
  })
  await new Promise<void>((resolve) => server.listen(socket, resolve))
  for (const name of Object.keys(programs)) {
    const real = installed(name) ?? ''
    const script = `#!/bin/sh\nexec '${process.execPath}' '${CLIENT}' '${socket}' '${name}' '${real}' "$@"\n`
    writeFileSync(join(bin, name), script)
    chmodSync(join(bin, name), 0o755)
  }
  return {
    directory,
    path: `${bin}:${process.env.PATH}`,
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      rmSync(root, { recursive: true, force: true })
    },
  }
}

async function answerOf(
  programs: Readonly<Record<string, StandIn>>,
  request: IncomingMessage,
): Promise<Answer | undefined> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  const { program, ...call } = JSON.parse(Buffer.concat(chunks).toString()) as Call & { program: string }
  return programs[program]?.(call)
}
