/** The test process's side of the API server process: its first line, and its control socket. */
import type { ChildProcess } from 'node:child_process'
import { request } from 'node:http'
import { createInterface } from 'node:readline'
import type { ControlCommand } from '../server/protocol.ts'

const START_TIMEOUT_MS = 180_000

/**
 * Waits for the line by which the server reports that it is ready. What it writes to stderr later is passed on.
 *
 * @throws Error when it ends or takes too long, with what it wrote to stderr
 */
export function firstLine(child: ChildProcess): Promise<string> {
  const { stdout, stderr } = child
  if (stdout === null || stderr === null)
    throw new Error('spawn must pipe stdout and stderr of the API server.')
  let complaints = ''
  let ready = false
  stderr.setEncoding('utf8').on('data', (text: string) => {
    if (ready) process.stderr.write(text)
    else complaints = `${complaints}${text}`.slice(-4000)
  })
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`The API server did not start: ${complaints}`)),
      START_TIMEOUT_MS,
    )
    createInterface({ input: stdout }).once('line', (line) => {
      clearTimeout(timer)
      ready = true
      resolve(line)
    })
    child.once('error', reject)
    // 'close' is emitted after the last of stderr.
    child.once('close', (code) => {
      clearTimeout(timer)
      reject(new Error(`The API server ended with code ${code}: ${complaints}`))
    })
  })
}

/**
 * Sends one command to the control socket.
 *
 * @throws Error with the server's text
 */
export function sendCommand<T>(socketPath: string, command: ControlCommand): Promise<T> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, method: 'POST', agent: false }, async (response) => {
      try {
        const chunks: Buffer[] = []
        for await (const chunk of response) chunks.push(chunk)
        const answer = JSON.parse(Buffer.concat(chunks).toString('utf8')) as { result: T; error?: string }
        if (answer.error !== undefined) reject(new Error(answer.error))
        else resolve(answer.result)
      } catch (error) {
        reject(error)
      }
    })
    outgoing.on('error', reject)
    outgoing.end(JSON.stringify(command))
  })
}
