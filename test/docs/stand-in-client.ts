/** A program in place of another one (stand-ins.ts), which asks the test for its answer. */
import { spawnSync } from 'node:child_process'
import { request } from 'node:http'

const [socketPath, program, real = '', ...args] = process.argv.slice(2)

const outgoing = request({ socketPath, method: 'POST', path: '/' }, (response) => {
  const chunks: Buffer[] = []
  response.on('data', (chunk: Buffer) => chunks.push(chunk))
  response.on('end', () => {
    const answer = JSON.parse(Buffer.concat(chunks).toString())
    if (answer === null) process.exit(runReal())
    process.stdout.write(answer.stdout)
    process.stderr.write(answer.stderr)
    process.exitCode = answer.code
  })
})
outgoing.end(JSON.stringify({ program, args, cwd: process.cwd() }))

function runReal(): number {
  if (real === '') {
    process.stderr.write(`${program} is not installed\n`)
    return 127
  }
  return spawnSync(real, args, { stdio: 'inherit' }).status ?? 1
}
